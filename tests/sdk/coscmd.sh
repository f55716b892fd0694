#!/usr/bin/env bash
# coscmd against the local service. Run by tests/sdk.rs, which starts the service and gives COSCMD and PORT.
set -euo pipefail

# coscmd knows no address of its own choice, but it honours a proxy, and then sends absolute targets.
export http_proxy=http://127.0.0.1:$PORT

config() {
    cat >"$1" <<CONFIG
[common]
secret_id = $COS_SECRETID
secret_key = $2
bucket = local-1250000000
region = ap-beijing
schema = http
part_size = 1
multiupload_threshold = 20
retry = 1
CONFIG
}
config right.conf "$COS_SECRETKEY"
config wrong.conf guessed

cos() {
    "$COSCMD" -c right.conf -l coscmd.log "$@"
}

fail() {
    echo "coscmd: $*" >&2
    cat coscmd.log >&2
    exit 1
}

echo upload, info, download
printf 'a small file' >small
cos upload small 'dir/小 file+1%.txt' >/dev/null
cos info 'dir/小 file+1%.txt' >told
grep -q 'Content-Length  *12 ' told || fail "info does not tell the size: $(cat told)"
cos download 'dir/小 file+1%.txt' small.back >/dev/null
cmp small small.back

echo a large file in parts
head -c 25000000 /dev/urandom >large
cos upload large large >/dev/null
cos download large large.back >/dev/null
cmp large large.back

echo directories and listings
mkdir -p tree/sub
for name in 1 2 'a b' sub/3; do echo "$name" >"tree/$name"; done
cos upload -r tree/ tree/ >/dev/null
cos list -a tree/ >listed
for name in tree/1 tree/2 'tree/a b' tree/sub/; do grep -qF "$name" listed || fail "$name is not listed"; done
cos download -r tree/ back/ >/dev/null
diff -r tree back

echo copy, sign, delete
cos copy local-1250000000.cos.ap-beijing.myqcloud.com/large copied >/dev/null
cos download copied copied.back >/dev/null
cmp large copied.back
# Under Python 3 it prints the URL as a literal of bytes.
url=$(cos signurl large | tail -n 1 | sed "s/^b'\(.*\)'$/\1/")
fetch='import sys, urllib.request; sys.stdout.buffer.write(urllib.request.urlopen(sys.argv[1]).read())'
"$(dirname "$COSCMD")/python" -c "$fetch" "$url" >signed.back || fail "the signed URL $url"
cmp large signed.back
cos delete -f copied >/dev/null
cos delete -r -f tree/ >/dev/null
cos list -a tree/ >listed || true
if grep -q 'tree/1' listed; then fail "tree/1 is still there"; fi

echo a wrong key
if "$COSCMD" -c wrong.conf -l wrong.log upload small forged >/dev/null 2>&1; then fail "a wrong key can write"; fi
grep -q SignatureDoesNotMatch wrong.log || fail "the wrong key is refused for another reason"
