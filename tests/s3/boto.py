"""The local service as boto3 uses it: ENDPOINT in the arguments, the key in AWS's variables."""

import base64
import hashlib
import http.client
import io
import socket
import sys
import urllib.error
import urllib.request
import zlib
from urllib.parse import urlsplit

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

MIB = 1 << 20
BUCKET = "bucket.of-boto3"


def client(endpoint, style="path", **more):
    config = Config(s3={"addressing_style": style}, retries={"max_attempts": 1}, **more)
    return boto3.client("s3", endpoint_url=endpoint, region_name="eu-west-1", config=config)


def refusal(call, *arguments, **named):
    """The code by which a call is refused."""
    try:
        call(*arguments, **named)
    except ClientError as error:
        return error.response["Error"]["Code"]
    raise AssertionError(f"{call.__name__} was not refused: {named}")


def buckets(s3):
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    assert BUCKET in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    s3.head_bucket(Bucket=BUCKET)
    assert refusal(s3.head_bucket, Bucket="nowhere") == "404"
    assert refusal(s3.list_objects_v2, Bucket="nowhere") == "NoSuchBucket"
    assert refusal(s3.create_bucket, Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}) in (
        "BucketAlreadyOwnedByYou",
    )
    s3.get_bucket_location(Bucket=BUCKET)


def objects(s3):
    body = b"some bytes \x00\xff" * 1000
    put = s3.put_object(
        Bucket=BUCKET, Key="dir/a b+ü", Body=body, ContentType="text/x-thing", CacheControl="no-cache",
        ContentEncoding="gzip", Metadata={"mode": "33188", "with_score": "x"}, Tagging="k=v&l=w",
    )
    assert put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    got = s3.get_object(Bucket=BUCKET, Key="dir/a b+ü")
    assert got["Body"].read() == body
    assert (got["ContentType"], got["CacheControl"], got["ContentEncoding"]) == ("text/x-thing", "no-cache", "gzip")
    assert got["Metadata"] == {"mode": "33188", "with_score": "x"}
    assert got["TagCount"] == 2
    tags = s3.get_object_tagging(Bucket=BUCKET, Key="dir/a b+ü")["TagSet"]
    assert tags == [{"Key": "k", "Value": "v"}, {"Key": "l", "Value": "w"}], tags
    part = s3.get_object(Bucket=BUCKET, Key="dir/a b+ü", Range="bytes=5-14")
    assert (part["Body"].read(), part["ContentRange"]) == (body[5:15], f"bytes 5-14/{len(body)}")
    assert refusal(s3.get_object, Bucket=BUCKET, Key="dir/a b+ü", Range="bytes=99999999-") == "InvalidRange"
    assert refusal(s3.get_object, Bucket=BUCKET, Key="nothing") == "NoSuchKey"
    assert refusal(s3.head_object, Bucket=BUCKET, Key="nothing") == "404"
    assert refusal(s3.get_object, Bucket=BUCKET, Key="dir/a b+ü", IfNoneMatch=put["ETag"]) == "304"
    assert refusal(s3.get_object, Bucket=BUCKET, Key="dir/a b+ü", IfMatch='"other"') == "PreconditionFailed"
    s3.put_object(Bucket=BUCKET, Key="empty", Body=b"")
    assert s3.head_object(Bucket=BUCKET, Key="empty")["ContentLength"] == 0
    attributes = s3.get_object_attributes(
        Bucket=BUCKET, Key="dir/a b+ü", ObjectAttributes=["ETag", "ObjectSize", "StorageClass", "Checksum"],
    )
    assert attributes["ObjectSize"] == len(body) and attributes["ETag"] == hashlib.md5(body).hexdigest(), attributes
    assert attributes["Checksum"]["ChecksumCRC32"], attributes


def checksums(s3):
    body = b"123456789"
    known = {
        "CRC32": base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode(),
        "SHA1": base64.b64encode(hashlib.sha1(body).digest()).decode(),
        "SHA256": base64.b64encode(hashlib.sha256(body).digest()).decode(),
    }
    for algorithm, expected in known.items():
        put = s3.put_object(Bucket=BUCKET, Key="sum", Body=body, ChecksumAlgorithm=algorithm)
        assert put[f"Checksum{algorithm}"] == expected
        head = s3.head_object(Bucket=BUCKET, Key="sum", ChecksumMode="ENABLED")
        assert (head[f"Checksum{algorithm}"], head["ChecksumType"]) == (expected, "FULL_OBJECT")
        wrong = {f"Checksum{algorithm}": base64.b64encode(bytes(len(base64.b64decode(expected)))).decode()}
        assert refusal(s3.put_object, Bucket=BUCKET, Key="sum", Body=body, **wrong) == "BadDigest"
    assert refusal(s3.put_object, Bucket=BUCKET, Key="sum", Body=body, ChecksumCRC32="AA") == "InvalidRequest"
    wrong = base64.b64encode(bytes(16)).decode()
    assert refusal(s3.put_object, Bucket=BUCKET, Key="sum", Body=body, ContentMD5=wrong) == "BadDigest"
    # Who names none gets the one of the service.
    plain = client(s3.meta.endpoint_url, request_checksum_calculation="when_required")
    plain.put_object(Bucket=BUCKET, Key="sum", Body=body)
    assert s3.head_object(Bucket=BUCKET, Key="sum", ChecksumMode="ENABLED")["ChecksumCRC64NVME"] == "rosUhgp5mIg="


def chunked(s3):
    """Bodies in chunks with what is known only at their end, as clients send them that cannot read a body twice."""
    from botocore.httpchecksum import AwsChunkedWrapper, Crc32Checksum

    body = b"chunk" * 100_000
    for trailer, expected in ((zlib.crc32(body), None), (zlib.crc32(body) ^ 1, "BadDigest")):
        def wrap(request, **_):
            class Known(Crc32Checksum):
                def digest(self):
                    return trailer.to_bytes(4, "big")

            request.headers["Content-Encoding"] = "aws-chunked"
            request.headers["X-Amz-Trailer"] = "x-amz-checksum-crc32"
            request.headers["X-Amz-Decoded-Content-Length"] = str(len(body))
            wrapped = AwsChunkedWrapper(io.BytesIO(body), checksum_cls=Known, checksum_name="x-amz-checksum-crc32")
            request.data = wrapped.read()
            request.headers["Content-Length"] = str(len(request.data))
            request.context["checksum"] = {"request_algorithm": {
                "algorithm": "crc32", "in": "trailer", "name": "x-amz-checksum-crc32"}}
        own = client(s3.meta.endpoint_url, request_checksum_calculation="when_required")
        own.meta.events.register("before-sign.s3.PutObject", wrap)
        if expected:
            assert refusal(own.put_object, Bucket=BUCKET, Key="chunked", Body=body) == expected
        else:
            own.put_object(Bucket=BUCKET, Key="chunked", Body=body)
            got = s3.get_object(Bucket=BUCKET, Key="chunked")
            assert got["Body"].read() == body and "ContentEncoding" not in got


def listings(s3):
    keys = sorted([f"l/{n:03}" for n in range(25)] + ["l/d1/x", "l/d2/y", "l/d2/z", "l/ü n"], key=lambda key: key.encode())
    for key in keys:
        s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode())
    for name in ("list_objects", "list_objects_v2"):
        pages = s3.get_paginator(name).paginate(Bucket=BUCKET, Prefix="l/", PaginationConfig={"PageSize": 7})
        found = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        assert found == keys, (name, found)
        pages = list(s3.get_paginator(name).paginate(
            Bucket=BUCKET, Prefix="l/", Delimiter="/", PaginationConfig={"PageSize": 5}))
        folded = [prefix["Prefix"] for page in pages for prefix in page.get("CommonPrefixes", [])]
        found = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        assert (folded, found) == (["l/d1/", "l/d2/"], [key for key in keys if key.count("/") == 1]), (name, folded)
    second = s3.list_objects_v2(Bucket=BUCKET, Prefix="l/", StartAfter="l/020", MaxKeys=2, FetchOwner=True)
    assert ([entry["Key"] for entry in second["Contents"]], second["KeyCount"]) == (["l/021", "l/022"], 2)
    assert second["StartAfter"] == "l/020" and "Owner" in second["Contents"][0]
    assert "Owner" not in s3.list_objects_v2(Bucket=BUCKET, MaxKeys=1)["Contents"][0]
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="l/", Delimiter="00")["CommonPrefixes"] == [{"Prefix": "l/00"}]


def multipart(s3):
    config = TransferConfig(multipart_threshold=6 * MIB, multipart_chunksize=5 * MIB)
    body = bytes(range(256)) * (13 * MIB // 256)
    for more in ({}, {"ChecksumAlgorithm": "SHA256"}, {"ChecksumAlgorithm": "CRC64NVME"}):
        if more.get("ChecksumAlgorithm") == "CRC64NVME":
            try:
                import awscrt  # noqa: F401
            except ImportError:
                continue
        s3.upload_fileobj(io.BytesIO(body), BUCKET, "big", ExtraArgs=more, Config=config)
        out = io.BytesIO()
        s3.download_fileobj(BUCKET, "big", out, Config=config)
        assert out.getvalue() == body
    digests = [hashlib.md5(body[at:at + 5 * MIB]).digest() for at in range(0, len(body), 5 * MIB)]
    expected = f'"{hashlib.md5(b"".join(digests)).hexdigest()}-{len(digests)}"'
    assert s3.head_object(Bucket=BUCKET, Key="big")["ETag"] == expected
    begun = s3.create_multipart_upload(Bucket=BUCKET, Key="sum", ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
    which = {"Bucket": BUCKET, "Key": "sum", "UploadId": begun["UploadId"]}
    sums = [s3.upload_part(PartNumber=n, Body=body[at:at + 5 * MIB], ChecksumAlgorithm="CRC32", **which)["ETag"]
            for n, at in ((1, 0), (2, 5 * MIB))]
    named = {"Parts": [{"PartNumber": n, "ETag": etag} for n, etag in zip((1, 2), sums)]}
    whole = base64.b64encode(zlib.crc32(body[:10 * MIB]).to_bytes(4, "big")).decode()
    assert refusal(s3.complete_multipart_upload, MultipartUpload=named, ChecksumCRC32="AAAAAA==", **which) == "BadDigest"
    made = s3.complete_multipart_upload(MultipartUpload=named, ChecksumCRC32=whole, **which)
    assert (made["ChecksumCRC32"], made["ChecksumType"]) == (whole, "FULL_OBJECT"), made
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="parts")["UploadId"]
    which = {"Bucket": BUCKET, "Key": "parts", "UploadId": upload}
    assert [entry["UploadId"] for entry in s3.list_multipart_uploads(Bucket=BUCKET)["Uploads"]] == [upload]
    first = s3.upload_part(PartNumber=2, Body=body[:5 * MIB], **which)
    copied = s3.upload_part_copy(
        PartNumber=7, CopySource={"Bucket": BUCKET, "Key": "big"}, CopySourceRange=f"bytes={5 * MIB}-{7 * MIB - 1}", **which)
    listed = s3.list_parts(MaxParts=1, **which)
    assert ([part["PartNumber"] for part in listed["Parts"]], listed["IsTruncated"]) == ([2], True)
    parts = [{"PartNumber": 2, "ETag": first["ETag"]}, {"PartNumber": 7, "ETag": copied["CopyPartResult"]["ETag"]}]
    wrong = [{"PartNumber": 2, "ETag": '"0123"'}]
    assert refusal(s3.complete_multipart_upload, MultipartUpload={"Parts": wrong}, **which) == "InvalidPart"
    assert refusal(s3.complete_multipart_upload, MultipartUpload={"Parts": parts[::-1]}, **which) == "InvalidPartOrder"
    # Gaps are allowed.
    s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **which)
    assert s3.get_object(Bucket=BUCKET, Key="parts")["Body"].read() == body[:7 * MIB]
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="parts")["UploadId"]
    which["UploadId"] = upload
    small = [s3.upload_part(PartNumber=n, Body=b"small", **which)["ETag"] for n in (1, 2)]
    parts = [{"PartNumber": n, "ETag": etag} for n, etag in zip((1, 2), small)]
    assert refusal(s3.complete_multipart_upload, MultipartUpload={"Parts": parts}, **which) == "EntityTooSmall"
    s3.abort_multipart_upload(**which)
    assert refusal(s3.list_parts, **which) == "NoSuchUpload"
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=BUCKET)


def copies(s3):
    s3.put_object(Bucket=BUCKET, Key="from", Body=b"copied", Metadata={"a": "1"}, ContentType="text/a")
    source = {"Bucket": BUCKET, "Key": "from"}
    s3.copy_object(Bucket=BUCKET, Key="to", CopySource=source)
    head = s3.head_object(Bucket=BUCKET, Key="to")
    assert (head["Metadata"], head["ContentType"]) == ({"a": "1"}, "text/a")
    s3.copy_object(Bucket=BUCKET, Key="to", CopySource=source, MetadataDirective="REPLACE", Metadata={"b": "2"})
    assert s3.head_object(Bucket=BUCKET, Key="to")["Metadata"] == {"b": "2"}
    assert refusal(s3.copy_object, Bucket=BUCKET, Key="from", CopySource=source) == "InvalidRequest"
    assert refusal(s3.copy_object, Bucket=BUCKET, Key="to", CopySource=source, CopySourceIfMatch="x") == "PreconditionFailed"
    assert refusal(s3.copy_object, Bucket=BUCKET, Key="to", CopySource={"Bucket": BUCKET, "Key": "no"}) == "NoSuchKey"


def conditional_writes(s3):
    first = s3.put_object(Bucket=BUCKET, Key="once", Body=b"1", IfNoneMatch="*")
    assert refusal(s3.put_object, Bucket=BUCKET, Key="once", Body=b"2", IfNoneMatch="*") == "PreconditionFailed"
    second = s3.put_object(Bucket=BUCKET, Key="once", Body=b"2", IfMatch=first["ETag"])
    assert refusal(s3.put_object, Bucket=BUCKET, Key="once", Body=b"3", IfMatch=first["ETag"]) == "PreconditionFailed"
    assert refusal(s3.put_object, Bucket=BUCKET, Key="never", Body=b"3", IfMatch=first["ETag"]) == "NoSuchKey"
    for condition, expected in (({"IfNoneMatch": "*"}, "PreconditionFailed"), ({"IfMatch": first["ETag"]}, "PreconditionFailed"),
                                ({"IfMatch": second["ETag"]}, None)):
        upload = s3.create_multipart_upload(Bucket=BUCKET, Key="once")["UploadId"]
        which = {"Bucket": BUCKET, "Key": "once", "UploadId": upload}
        etag = s3.upload_part(PartNumber=1, Body=b"parts", **which)["ETag"]
        complete = dict(MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]}, **which, **condition)
        if expected:
            assert refusal(s3.complete_multipart_upload, **complete) == expected
            s3.abort_multipart_upload(**which)
        else:
            s3.complete_multipart_upload(**complete)
    assert s3.get_object(Bucket=BUCKET, Key="once")["Body"].read() == b"parts"


def deletions(s3):
    for n in range(1005):
        s3.put_object(Bucket=BUCKET, Key=f"doomed/{n}", Body=b"")
    keys = [{"Key": f"doomed/{n}"} for n in range(1000)]
    assert len(s3.delete_objects(Bucket=BUCKET, Delete={"Objects": keys})["Deleted"]) == 1000
    quiet = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": f"doomed/{n}"} for n in range(1000, 1005)], "Quiet": True})
    assert "Deleted" not in quiet and "Contents" not in s3.list_objects_v2(Bucket=BUCKET, Prefix="doomed/")
    s3.delete_object(Bucket=BUCKET, Key="doomed/none")
    assert refusal(s3.delete_bucket, Bucket=BUCKET) == "BucketNotEmpty"


def presigned(s3):
    for version in ("s3v4", "s3"):
        signing = client(s3.meta.endpoint_url, signature_version=version)
        which = {"Bucket": BUCKET, "Key": f"signed é {version}"}
        parts = urlsplit(signing.generate_presigned_url("put_object", Params=which, ExpiresIn=60))
        connection = http.client.HTTPConnection(parts.netloc)
        connection.request("PUT", f"{parts.path}?{parts.query}", body=b"presigned")
        assert connection.getresponse().status == 200
        url = signing.generate_presigned_url(
            "get_object", Params={**which, "ResponseContentType": "text/own"}, ExpiresIn=60)
        answer = urllib.request.urlopen(url)
        assert (answer.read(), answer.headers["Content-Type"]) == (b"presigned", "text/own")
        try:
            urllib.request.urlopen(url.replace("signed", "signet"))
            raise AssertionError("another object by the same signature")
        except urllib.error.HTTPError as error:
            assert error.code == 403 and b"SignatureDoesNotMatch" in error.read()
        # All calls by it, and not only those of a URL.
        assert signing.get_object(**which)["Body"].read() == b"presigned"
        assert signing.list_objects_v2(Bucket=BUCKET, Prefix="signed")["KeyCount"] >= 1


def strangers(s3):
    endpoint = s3.meta.endpoint_url
    with_key = lambda id, secret: boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id=id, aws_secret_access_key=secret)
    own = boto3.Session().get_credentials()
    assert refusal(with_key(own.access_key, "wrong").list_buckets) == "SignatureDoesNotMatch"
    assert refusal(with_key("nobody", "wrong").list_buckets) == "InvalidAccessKeyId"
    assert refusal(with_key(own.access_key, "wrong").put_object, Bucket=BUCKET, Key="a", Body=b"a") == "SignatureDoesNotMatch"
    from botocore import UNSIGNED
    unsigned = boto3.client("s3", endpoint_url=endpoint, config=Config(signature_version=UNSIGNED))
    assert refusal(unsigned.get_object, Bucket=BUCKET, Key="once") in ("AccessDenied", "403")


def hosts(s3):
    """The bucket in the host, as clients name it where a name resolves."""
    s3.create_bucket(Bucket="hosted")
    # Not every machine knows the names below localhost.
    resolve = socket.getaddrinfo
    socket.getaddrinfo = lambda host, *more, **named: resolve(
        "127.0.0.1" if str(host).endswith(".localhost") else host, *more, **named)
    port = s3.meta.endpoint_url.rsplit(":", 1)[1]
    hosted = client(f"http://localhost:{port}", style="virtual")
    hosted.put_object(Bucket="hosted", Key="a/b", Body=b"by host")
    assert s3.get_object(Bucket="hosted", Key="a/b")["Body"].read() == b"by host"
    assert [entry["Key"] for entry in hosted.list_objects_v2(Bucket="hosted")["Contents"]] == ["a/b"]


def configurations(s3):
    """What a bucket only keeps."""
    assert refusal(s3.get_bucket_lifecycle_configuration, Bucket=BUCKET) == "NoSuchLifecycleConfiguration"
    rules = [{"ID": "a", "Status": "Enabled", "Filter": {"Prefix": "x"}, "Expiration": {"Days": 3}}]
    s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": rules})
    assert s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"] == rules
    s3.delete_bucket_lifecycle(Bucket=BUCKET)
    assert refusal(s3.get_bucket_lifecycle_configuration, Bucket=BUCKET) == "NoSuchLifecycleConfiguration"
    assert refusal(s3.get_bucket_tagging, Bucket=BUCKET) == "NoSuchTagSet"
    s3.put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    assert s3.get_bucket_tagging(Bucket=BUCKET)["TagSet"] == [{"Key": "a", "Value": "b"}]
    cors = [{"AllowedMethods": ["GET"], "AllowedOrigins": ["http://example.com"], "MaxAgeSeconds": 9}]
    assert refusal(s3.get_bucket_cors, Bucket=BUCKET) == "NoSuchCORSConfiguration"
    s3.put_bucket_cors(Bucket=BUCKET, CORSConfiguration={"CORSRules": cors})
    assert s3.get_bucket_cors(Bucket=BUCKET)["CORSRules"] == cors
    policy = '{"Version":"2012-10-17","Statement":[]}'
    s3.put_bucket_policy(Bucket=BUCKET, Policy=policy)
    assert s3.get_bucket_policy(Bucket=BUCKET)["Policy"] == policy
    s3.put_object_tagging(Bucket=BUCKET, Key="once", Tagging={"TagSet": [{"Key": "t", "Value": "1"}]})
    assert s3.get_object_tagging(Bucket=BUCKET, Key="once")["TagSet"] == [{"Key": "t", "Value": "1"}]
    s3.delete_object_tagging(Bucket=BUCKET, Key="once")
    assert s3.get_object_tagging(Bucket=BUCKET, Key="once")["TagSet"] == []
    s3.put_object_acl(Bucket=BUCKET, Key="once", ACL="public-read")
    grants = s3.get_object_acl(Bucket=BUCKET, Key="once")["Grants"]
    assert sorted(grant["Permission"] for grant in grants) == ["FULL_CONTROL", "READ"], grants
    assert s3.get_bucket_acl(Bucket=BUCKET)["Grants"][0]["Permission"] == "FULL_CONTROL"
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    assert s3.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"
    versions = [s3.put_object(Bucket=BUCKET, Key="versioned", Body=text)["VersionId"] for text in (b"1", b"2")]
    assert s3.get_object(Bucket=BUCKET, Key="versioned", VersionId=versions[0])["Body"].read() == b"1"
    listed = s3.list_object_versions(Bucket=BUCKET, Prefix="versioned")["Versions"]
    assert [version["VersionId"] for version in listed] == versions[::-1]
    assert refusal(s3.put_object, Bucket=BUCKET, Key="versioned", Body=b"3", IfNoneMatch="*") == "PreconditionFailed"


CHECKS = [buckets, objects, checksums, chunked, listings, multipart, copies, conditional_writes, deletions, presigned,
          strangers, hosts, configurations]

if __name__ == "__main__":
    endpoint, *wanted = sys.argv[1:]
    s3 = client(endpoint)
    failed = []
    for check in CHECKS:
        if wanted and check.__name__ not in wanted and check is not buckets:
            continue
        try:
            check(s3)
        except Exception as error:  # every check tells, whatever became of those before
            import traceback
            traceback.print_exc()
            failed.append(f"{check.__name__}: {error}")
    print("\n".join(failed) or "all well")
    sys.exit(bool(failed))
