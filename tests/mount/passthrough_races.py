"""Opens of a few files that race, while whether the kernel may read them by itself changes all the time. Whatever is read of a file
is one of the contents that it was given, or nothing, and no call fails with EIO.
Usage: passthrough_races.py DIRECTORY SEED SECONDS"""

import errno
import mmap
import os
import random
import sys
import time

DIRECTORY, SEED, SECONDS = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
SIZE = 300_000
draw = random.Random(SEED)
os.chdir(DIRECTORY)
kept = []
counts = {}


def check(data, what):
    """Each content is one byte over and over; a writer changes from one to another in order, from the beginning."""
    changes = sum(data[i] != data[i - 1] for i in range(4096, len(data), 4096))
    # Several may be on their way from one to another.
    assert changes <= 6, f"{what}: {changes} changes"
    assert all(97 <= byte <= 122 for byte in data[::4096]), what


def read(name):
    fd = os.open(name, os.O_RDONLY | draw.choice([0, 0, os.O_DIRECT]))
    try:
        if draw.random() < 0.5 and os.fstat(fd).st_size >= SIZE:
            kept.append((mmap.mmap(fd, SIZE, mmap.MAP_SHARED, mmap.PROT_READ), name))
        room = mmap.mmap(-1, SIZE + 4096)
        got = os.preadv(fd, [room], 0)
        check(room[:got], "read")
    finally:
        os.close(fd)


def rewrite(name):
    fd = os.open(name, os.O_RDWR if draw.random() < 0.5 else os.O_WRONLY)
    try:
        byte = bytes([draw.randrange(97, 123)])
        for start in range(0, SIZE, 100_000):
            os.pwrite(fd, byte * 100_000, start)
    finally:
        os.close(fd)


def look(_):
    while len(kept) > draw.randrange(6):
        shown, name = kept.pop(draw.randrange(len(kept)))
        check(bytes(shown), f"mapping of {name}")
        shown.close()


def replace(name):
    new = f"{name}.{os.getpid()}"
    with open(new, "wb") as file:
        file.write(bytes([draw.randrange(97, 123)]) * SIZE)
    os.rename(new, name)


def warm(name):
    """What is read whole may be read by the kernel the next time."""
    with open(name, "rb") as file:
        check(file.read(), "read whole")


CALLS = [read, read, read, warm, warm, look, rewrite, replace]
end = time.monotonic() + SECONDS
while time.monotonic() < end:
    call, name = draw.choice(CALLS), f"race{draw.randrange(3)}"
    try:
        call(name)
        counts[call.__name__] = counts.get(call.__name__, 0) + 1
    except OSError as error:
        # Removed or replaced between two looks at the name.
        if error.errno not in (errno.ESTALE, errno.ENOENT):
            raise
        counts[errno.errorcode[error.errno]] = counts.get(errno.errorcode[error.errno], 0) + 1
print(counts)
