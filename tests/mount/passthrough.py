"""What readers and mappings of one file see while others change it. Prints one line for each look, so that two file systems can be
compared. Usage: passthrough.py DIRECTORY, in which there is a file `file` of 3,000,001 bytes."""

import ctypes
import hashlib
import mmap
import os
import shutil
import sys

os.chdir(sys.argv[1])
LIBC = ctypes.CDLL(None, use_errno=True)
PUNCH_HOLE, KEEP_SIZE = 2, 1


def sha(data):
    return hashlib.sha256(data).hexdigest()[:12]


def pattern(seed, length):
    return bytes((i * seed + i // 251) % 256 for i in range(length))


class Reader:
    def __init__(self, maps):
        self.fd = os.open("file", os.O_RDONLY)
        size = os.fstat(self.fd).st_size
        self.map = mmap.mmap(self.fd, size, mmap.MAP_SHARED, mmap.PROT_READ) if maps else None

    def see(self):
        size = os.fstat(self.fd).st_size
        read = b""
        while piece := os.pread(self.fd, 1 << 20, len(read)):
            read += piece
        seen = [size, len(read), sha(read)]
        if self.map is not None:
            # Behind the end of the file a mapping is an error, here as there.
            shown = min(size, len(self.map))
            seen.append(sha(self.map[:shown]))
        return seen

    def close(self):
        if self.map is not None:
            self.map.close()
        os.close(self.fd)


readers = [Reader(index >= 4) for index in range(6)]


def look(what):
    seen = [reader.see() for reader in readers]
    print(what, *seen, sep="\n  ")
    try:
        fresh = Reader(True)
    except FileNotFoundError:
        return print("  nobody finds it")
    print("  anew", fresh.see())
    fresh.close()


def fallocate(fd, mode, offset, length):
    if LIBC.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)):
        raise OSError(ctypes.get_errno(), "fallocate")


look("at first")
fd = os.open("file", os.O_WRONLY)
look("a writer has opened it")
os.pwrite(fd, pattern(3, 10000), 1_000_000)
look("written")
os.pwrite(fd, pattern(5, 2_500_000), 2_000_000)
look("written beyond the end")
os.fsync(fd)
look("fsync")
os.ftruncate(fd, 2_222_222)
look("cut")
os.ftruncate(fd, 2_900_000)
look("grown")
fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 500_000, 100_001)
look("punched")
fallocate(fd, 0, 2_899_000, 5000)
look("reserved")
os.close(fd)
look("the writer has closed it")

fd = os.open("file", os.O_WRONLY | os.O_APPEND)
os.write(fd, pattern(7, 777))
look("appended")
os.close(fd)
os.truncate("file", 2_500_000)
look("cut by path")
os.chmod("file", 0o640)
look("chmod")

fd = os.open("file", os.O_RDWR)
print("by its own", sha(os.pread(fd, 3_000_000, 0)))
both = mmap.mmap(fd, 2_500_000)
look("a writer has mapped it")
both[1234:1300] = pattern(11, 66)
both[2_400_000:2_400_100] = pattern(13, 100)
look("stored")
os.pwrite(fd, pattern(17, 50), 1250)
print("by its own", sha(os.pread(fd, 3_000_000, 0)), sha(both[:]))
both.flush()
os.fsync(fd)
look("stored and synced")
both[2_000_000:2_000_003] = b"end"
both.close()
os.close(fd)
look("stored and closed")

source = os.open("other", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
os.write(source, pattern(19, 300_000))
fd = os.open("file", os.O_WRONLY)
done = 0
while done < 300_000:
    done += os.copy_file_range(source, fd, 300_000 - done, done, 700_000 + done)
os.close(fd)
look("copied into")
os.close(source)

with open("file", "wb") as file:
    file.write(pattern(23, 1_800_000))
look("emptied and written anew")
os.rename("file", "moved")
os.rename("moved", "file")
look("renamed there and back")
shutil.copyfile("file", "last")
os.rename("other", "file")
look("replaced")
fd = os.open("file", os.O_WRONLY)
os.pwrite(fd, b"nobody sees it", 0)
os.close(fd)
look("written after that")
os.unlink("file")
look("removed")
for reader in readers:
    reader.close()
print("closed")
