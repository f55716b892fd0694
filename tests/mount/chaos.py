"""One program of several that work on a mount whose service does wrong on purpose.

It knows what each of its files must hold: one content where every call told success, one of several where a call failed. What
it reads must be that, or an error. At the end it says what it knows, for whoever looks into the bucket.
"""
import hashlib, json, os, random, subprocess, sys, time

number, seed, seconds, local = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
chance = random.Random(seed * 1000 + number)
home = f'w{number}'
known = {}      # name -> content, where every call told success
perhaps = {}    # name -> the digests that it may have; None is a name that is not there
either = []     # pairs of a name and a digest, of which one must be there
leftovers = []  # what names begin with that a failed tool may have left
wrong, errors, kinds = [], {}, {}
calls = failed = 0
slowest = (0, '')
count = 0


def digest(content):
    return None if content is None else hashlib.sha256(content).hexdigest()


def timed(what, call, *arguments, **more):
    """A call of this program, and how long it took."""
    global calls, slowest
    calls += 1
    began = time.monotonic()
    try:
        return call(*arguments, **more)
    finally:
        slowest = max(slowest, (time.monotonic() - began, what))


def note(error):
    global failed
    failed += 1
    name = str(error.errno) if isinstance(error, OSError) else str(error)[:80]
    errors[name] = errors.get(name, 0) + 1


def doubt(name, *contents):
    """A call on this file has failed: from now on it is left alone."""
    known.pop(name, None)
    perhaps.setdefault(name, []).extend(digest(content) for content in contents)


def fresh():
    global count
    count += 1
    return f'{home}/{count:04}'


def some(minimum=0):
    names = [name for name in known if len(known[name]) >= minimum]
    return chance.choice(names) if names else None


def content():
    size = chance.choice([0, 10, 5000, 70_000, 300_000, 1_500_000, 3_200_000])
    return chance.randbytes(size)


def whole(name, flags, offset, data):
    """Opens, writes and closes; the close is what tells."""
    fd = timed('open ' + name, os.open, name, flags, 0o644)
    try:
        at = 0
        while at < len(data):
            piece = data[at:at + 131072]
            if offset is None:
                timed('write ' + name, os.write, fd, piece)
            else:
                timed('write ' + name, os.pwrite, fd, piece, offset + at)
            at += len(piece)
    except OSError:
        try:
            os.close(fd)
        except OSError:
            pass
        raise
    timed('close ' + name, os.close, fd)


def write():
    name, data = fresh(), content()
    try:
        whole(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, None, data)
        known[name] = data
    except OSError as error:
        note(error)
        doubt(name, None, b'', data)


def replace():
    name, data = some(), content()
    if name is None:
        return
    old = known[name]
    try:
        whole(name, os.O_WRONLY | os.O_TRUNC, None, data)
        known[name] = data
    except OSError as error:
        note(error)
        # Cut to nothing by the open, and that may have been published alone.
        doubt(name, old, b'', data)


def append():
    name, data = some(), chance.randbytes(chance.choice([1, 4000, 200_000]))
    if name is None:
        return
    old = known[name]
    try:
        whole(name, os.O_WRONLY | os.O_APPEND, None, data)
        known[name] = old + data
    except OSError as error:
        note(error)
        doubt(name, old, old + data)


def edit():
    name = some(20)
    if name is None:
        return
    old = known[name]
    offset, data = chance.randrange(len(old) - 10), chance.randbytes(10)
    new = old[:offset] + data + old[offset + 10:]
    try:
        whole(name, os.O_WRONLY, offset, data)
        known[name] = new
    except OSError as error:
        note(error)
        doubt(name, old, new)


def rename():
    name = some()
    if name is None:
        return
    target = some() if chance.random() < 0.3 else fresh()
    if target == name:
        return
    moved, replaced = known[name], known.get(target)
    try:
        timed('rename ' + name, os.rename, name, target)
        known[target] = known.pop(name)
    except OSError as error:
        note(error)
        either.append([[name, digest(moved)], [target, digest(moved)]])
        doubt(name, moved, None)
        doubt(target, replaced, moved)


def remove():
    name = some()
    if name is None:
        return
    old = known[name]
    try:
        timed('unlink ' + name, os.unlink, name)
        del known[name]
        perhaps[name] = [None]
    except OSError as error:
        note(error)
        doubt(name, old, None)


def tool(command, name, data):
    """A tool that makes a file of a local one; its status is what tells."""
    source = f'{local}/source-{number}'
    with open(source, 'wb') as file:
        file.write(data)
    ended = timed(' '.join(command) + ' ' + name, subprocess.run, [*command, source, name], capture_output=True)
    if ended.returncode == 0:
        known[name] = data
    else:
        note(Exception(f'{command[0]} ended with {ended.returncode}'))
        doubt(name, None, b'', data)
        # What rsync writes before it renames, and may not have been able to remove.
        leftovers.append(f'{home}/.{os.path.basename(name)}.')


def copy():
    tool(['cp'], fresh(), content())


def synchronize():
    tool(['rsync', '--checksum'], fresh(), content())


def copy_inside():
    name = some()
    if name is None:
        return
    target, data = fresh(), known[name]
    ended = timed('cp ' + name, subprocess.run, ['cp', name, target], capture_output=True)
    if ended.returncode == 0:
        known[target] = data
    else:
        note(Exception(f'cp inside ended with {ended.returncode}'))
        doubt(target, None, b'', data)


def read():
    name = some()
    if name is None:
        return
    try:
        fd = timed('open ' + name, os.open, name, os.O_RDONLY)
        try:
            # What the kernel has of it is no proof.
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            pieces = []
            while piece := timed('read ' + name, os.read, fd, 131072):
                pieces.append(piece)
        finally:
            os.close(fd)
    except OSError as error:
        note(error)
        return
    got = b''.join(pieces)
    if got != known[name]:
        others = [at for at, (a, b) in enumerate(zip(got, known[name])) if a != b]
        wrong.append(f'{name}: read {len(got)} bytes of {len(known[name])}, {len(others)} of them others, from {others[:1]} on')


def make_home():
    for _ in range(50):
        try:
            os.mkdir(home)
            return
        except FileExistsError:
            return
        except OSError as error:
            note(error)
    raise SystemExit('the directory cannot be made')


make_home()
deeds = [write, write, replace, append, edit, rename, remove, copy, synchronize, copy_inside, read, read]
until = time.monotonic() + seconds
while time.monotonic() < until:
    deed = chance.choice(deeds)
    kinds[deed.__name__] = kinds.get(deed.__name__, 0) + 1
    deed()
    if len(known) > 40:
        remove()
for name, data in known.items():
    perhaps[name] = [digest(data)]
print(json.dumps({
    'files': perhaps, 'either': either, 'leftovers': leftovers, 'wrong': wrong, 'calls': calls, 'failed': failed, 'errors': errors,
    'slowest_seconds': slowest[0], 'slowest': slowest[1], 'deeds': kinds,
}))
