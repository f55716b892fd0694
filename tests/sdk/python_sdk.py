"""The official Python SDK against the local service. Run by tests/sdk.rs, which starts the service."""

import hashlib
import os
import random

import requests
from qcloud_cos import CosClientError, CosConfig, CosS3Client, CosServiceError

BUCKET = 'local-1250000000'
HOST = BUCKET + '.cos.ap-beijing.myqcloud.com'
PORT = int(os.environ['PORT'])
MIB = 1 << 20

AWKWARD = [
    'plain.txt',
    'with space.txt',
    'a+b%20c%.txt',
    "quotes'\"<>&.txt",
    '腾讯云/文件 名.txt',
    'emoji 😀.txt',
    'a//b.txt',
    './dots/../x',
    'brackets(1)[2]{3}!*~',
    'trailing/',
    'k' * 850,
]


def client(secret_id=os.environ['COS_SECRETID'], secret_key=os.environ['COS_SECRETKEY']):
    config = CosConfig(Region='ap-beijing', SecretId=secret_id, SecretKey=secret_key, Scheme='http',
                       IP='127.0.0.1', Port=PORT, ServiceDomain='127.0.0.1:%d' % PORT)
    return CosS3Client(config, retry=0)


cos = client()


def content(size, seed):
    return random.Random(seed).randbytes(size)


def get(key, **arguments):
    return cos.get_object(Bucket=BUCKET, Key=key, **arguments)['Body'].get_raw_stream().read()


def refused(status, code, call, **arguments):
    try:
        call(**arguments)
    except CosServiceError as error:
        assert (error.get_status_code(), error.get_error_code()) == (status, code), error
        assert error.get_request_id()
    else:
        raise AssertionError('%s was not refused' % call.__name__)


def put_get_and_head():
    data = content(100_000, 1)
    put = cos.put_object(Bucket=BUCKET, Key='a', Body=data, EnableMD5=True, ContentType='text/plain',
                         Metadata={'x-cos-meta-mtime': '1.5'}, StorageClass='STANDARD_IA')
    assert put['ETag'] == '"%s"' % hashlib.md5(data).hexdigest()
    assert get('a') == data
    head = cos.head_object(Bucket=BUCKET, Key='a')
    assert (head['Content-Length'], head['Content-Type'], head['x-cos-meta-mtime']) == ('100000', 'text/plain', '1.5')
    assert (head['x-cos-storage-class'], head['x-cos-hash-crc64ecma']) == ('STANDARD_IA', put['x-cos-hash-crc64ecma'])
    for wanted, expected in [('bytes=0-0', data[:1]), ('bytes=5-9', data[5:10]), ('bytes=99990-', data[99990:]),
                             ('bytes=-7', data[-7:]), ('bytes=99999-200000', data[99999:])]:
        assert get('a', Range=wanted) == expected, wanted
    refused(416, 'InvalidRange', get, key='a', Range='bytes=100000-')
    refused(412, 'PreconditionFailed', get, key='a', IfMatch='"other"')
    refused(404, 'NoSuchKey', get, key='missing')
    assert not cos.object_exists(Bucket=BUCKET, Key='missing')
    assert cos.bucket_exists(Bucket=BUCKET)
    # An iterator is sent in chunks, without a length.
    cos.put_object(Bucket=BUCKET, Key='chunked', Body=(piece for piece in [b'one ', b'two ', b'three']))
    assert get('chunked') == b'one two three'


def awkward_keys():
    for number, key in enumerate(AWKWARD):
        cos.put_object(Bucket=BUCKET, Key='awkward/' + key if len(key) < 800 else key, Body=b'%d' % number)
    for number, key in enumerate(AWKWARD):
        assert get('awkward/' + key if len(key) < 800 else key) == b'%d' % number, key
    listed = cos.list_objects(Bucket=BUCKET, Prefix='awkward/', EncodingType='url')
    keys = {requests.utils.unquote(entry['Key']) for entry in listed['Contents']}
    assert keys == {'awkward/' + key for key in AWKWARD if len(key) < 800}, keys


def listing():
    for key in ['list/a', 'list/b/1', 'list/b/2', 'list/c/1', 'list/d', 'list/e f']:
        cos.put_object(Bucket=BUCKET, Key=key, Body=b'x')
    entries, marker = [], ''
    while True:
        page = cos.list_objects(Bucket=BUCKET, Prefix='list/', Delimiter='/', MaxKeys=2, Marker=marker)
        entries += [entry['Key'] for entry in page.get('Contents', [])]
        entries += [entry['Prefix'] for entry in page.get('CommonPrefixes', [])]
        if page['IsTruncated'] == 'false':
            break
        marker = page['NextMarker']
    assert sorted(entries) == ['list/a', 'list/b/', 'list/c/', 'list/d', 'list/e f'], entries
    buckets = cos.list_buckets()['Buckets']['Bucket']
    assert BUCKET in [bucket['Name'] for bucket in buckets], buckets


def copying():
    source = {'Bucket': BUCKET, 'Key': '腾讯云/源 文+件', 'Region': 'ap-beijing'}
    cos.put_object(Bucket=BUCKET, Key=source['Key'], Body=b'copied', Metadata={'x-cos-meta-a': '1'})
    answer = cos.copy_object(Bucket=BUCKET, Key='copy/kept', CopySource=source)
    assert answer['ETag'] and answer['CRC64']
    assert cos.head_object(Bucket=BUCKET, Key='copy/kept')['x-cos-meta-a'] == '1'
    cos.copy_object(Bucket=BUCKET, Key='copy/new', CopySource=source, CopyStatus='Replaced',
                    Metadata={'x-cos-meta-b': '2'})
    head = cos.head_object(Bucket=BUCKET, Key='copy/new')
    assert 'x-cos-meta-a' not in head and head['x-cos-meta-b'] == '2'
    assert get('copy/new') == b'copied'
    # The high-level copy takes parts of a large object.
    data = content(6 * MIB + 1, 2)
    cos.put_object(Bucket=BUCKET, Key='copy/large', Body=data)
    upload = cos.create_multipart_upload(Bucket=BUCKET, Key='copy/parts')['UploadId']
    parts = []
    for number, (first, last) in enumerate([(0, 4 * MIB - 1), (4 * MIB, 6 * MIB)], start=1):
        part = cos.upload_part_copy(Bucket=BUCKET, Key='copy/parts', PartNumber=number, UploadId=upload,
                                    CopySource={**source, 'Key': 'copy/large'},
                                    CopySourceRange='bytes=%d-%d' % (first, last))
        parts.append({'PartNumber': number, 'ETag': part['ETag']})
    cos.complete_multipart_upload(Bucket=BUCKET, Key='copy/parts', UploadId=upload, MultipartUpload={'Part': parts})
    assert get('copy/parts') == data


def multipart_by_hand():
    key, pieces = '分块/by hand', [content(MIB, 3), content(2 * MIB, 4), content(10, 5)]
    upload = cos.create_multipart_upload(Bucket=BUCKET, Key=key, Metadata={'x-cos-meta-c': '3'})['UploadId']
    etags = {}
    for number in [3, 1, 2]:
        part = cos.upload_part(Bucket=BUCKET, Key=key, Body=pieces[number - 1], PartNumber=number, UploadId=upload)
        etags[number] = part['ETag']
        assert part['ETag'].strip('"') == hashlib.md5(pieces[number - 1]).hexdigest()
    listed = cos.list_parts(Bucket=BUCKET, Key=key, UploadId=upload)['Part']
    assert [(part['PartNumber'], part['ETag']) for part in listed] == [(str(n), etags[n]) for n in [1, 2, 3]]
    uploads = cos.list_multipart_uploads(Bucket=BUCKET, Prefix='分块/')['Upload']
    assert [(entry['Key'], entry['UploadId']) for entry in uploads] == [(key, upload)]
    gap = {'Part': [{'PartNumber': n, 'ETag': etags[n]} for n in [1, 3]]}
    refused(400, 'InvalidPart', cos.complete_multipart_upload, Bucket=BUCKET, Key=key, UploadId=upload,
            MultipartUpload=gap)
    whole = {'Part': [{'PartNumber': n, 'ETag': etags[n]} for n in [1, 2, 3]]}
    done = cos.complete_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload, MultipartUpload=whole)
    assert done['ETag'].endswith('-3"')
    assert get(key) == b''.join(pieces)
    refused(404, 'NoSuchUpload', cos.abort_multipart_upload, Bucket=BUCKET, Key=key, UploadId=upload)
    upload = cos.create_multipart_upload(Bucket=BUCKET, Key=key)['UploadId']
    cos.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload)


def high_level_transfers():
    data = content(5 * MIB + 123, 6)
    with open('up', 'wb') as file:
        file.write(data)
    cos.upload_file(Bucket=BUCKET, Key='high/up', LocalFilePath='up', PartSize=1, MAXThread=4, EnableMD5=True)
    cos.download_file(Bucket=BUCKET, Key='high/up', DestFilePath='down', PartSize=1, MAXThread=4, EnableCRC=True)
    with open('down', 'rb') as file:
        assert file.read() == data
    # An upload that somebody began is found and gone on with.
    upload = cos.create_multipart_upload(Bucket=BUCKET, Key='high/resumed')['UploadId']
    for number in [1, 3]:
        piece = data[(number - 1) * MIB:number * MIB]
        cos.upload_part(Bucket=BUCKET, Key='high/resumed', Body=piece, PartNumber=number, UploadId=upload)
    sent, upload_part = [], cos.upload_part
    cos.upload_part = lambda *given, **named: (sent.append(named.get('PartNumber') or given[3]),
                                               upload_part(*given, **named))[1]
    cos.upload_file(Bucket=BUCKET, Key='high/resumed', LocalFilePath='up', PartSize=1, MAXThread=2)
    cos.upload_part = upload_part
    assert sorted(sent) == [2, 4, 5, 6], sent
    assert get('high/resumed') == data
    refused(404, 'NoSuchUpload', cos.list_parts, Bucket=BUCKET, Key='high/resumed', UploadId=upload)


def deleting_many():
    keys = ['many/%d & 腾' % number for number in range(20)]
    for key in keys:
        cos.put_object(Bucket=BUCKET, Key=key, Body=b'')
    objects = {'Object': [{'Key': key} for key in keys[:10]], 'Quiet': 'false'}
    deleted = cos.delete_objects(Bucket=BUCKET, Delete=objects)['Deleted']
    assert [entry['Key'] for entry in deleted] == keys[:10]
    cos.delete_objects(Bucket=BUCKET, Delete={'Object': [{'Key': key} for key in keys[10:]], 'Quiet': 'true'})
    assert 'Contents' not in cos.list_objects(Bucket=BUCKET, Prefix='many/')
    cos.delete_object(Bucket=BUCKET, Key='many/never there')


def presigned_urls():
    key = 'signed/a b+c%d~e/腾讯云.txt'
    by_host = CosS3Client(CosConfig(Region='ap-beijing', SecretId=os.environ['COS_SECRETID'],
                                    SecretKey=os.environ['COS_SECRETKEY'], Scheme='http'))

    def ask(method, url, **more):
        """Fetches a URL of the bucket's host, or of this machine, from this machine."""
        headers = {'Host': HOST} if HOST in url else {}
        local = url.replace('http://' + HOST, 'http://127.0.0.1:%d' % PORT, 1)
        return requests.request(method, local, headers=headers, **more)

    for signer in [cos, by_host]:
        put = signer.get_presigned_url(Method='PUT', Bucket=BUCKET, Key=key, Expired=60)
        answer = ask('PUT', put, data=b'through a URL')
        assert answer.status_code == 200, answer.text
        fetch = signer.get_presigned_url(Method='GET', Bucket=BUCKET, Key=key, Expired=60,
                                         Params={'response-content-type': 'text/plain; charset=utf-8'})
        answer = ask('GET', fetch)
        assert (answer.content, answer.headers['Content-Type']) == (b'through a URL', 'text/plain; charset=utf-8')
        assert ask('GET', fetch.replace('q-signature=', 'q-signature=0')).status_code == 403
        assert ask('DELETE', fetch).status_code == 403


def wrong_keys():
    stranger = client(secret_id='AKIDstranger')
    forger = client(secret_key='guessed')
    refused(403, 'InvalidAccessKeyId', stranger.list_objects, Bucket=BUCKET)
    refused(403, 'SignatureDoesNotMatch', forger.put_object, Bucket=BUCKET, Key='forged', Body=b'x')
    refused(404, 'NoSuchBucket', cos.list_objects, Bucket='nowhere-1250000000')
    assert not cos.object_exists(Bucket=BUCKET, Key='forged')


for check in [put_get_and_head, awkward_keys, listing, copying, multipart_by_hand, high_level_transfers,
              deleting_many, presigned_urls, wrong_keys]:
    print(check.__name__, flush=True)
    check()
