"""What another client of the same service sees of what the mount has made: bytes, attributes, nothing unfinished.

    check.py make|check ENDPOINT BUCKET [DIRECTORY]
"""
import hashlib, os, sys

import boto3

what, endpoint, bucket = sys.argv[1:4]
s3 = boto3.client('s3', endpoint_url=endpoint, region_name='us-east-1')
if what == 'make':
    s3.create_bucket(Bucket=bucket)
    # What others have made: with s3fs's attributes, and with none.
    attributes = {'mode': '33184', 'uid': '7', 'gid': '8', 'mtime': '1700000000.5'}
    s3.put_object(Bucket=bucket, Key='others/s3fs file', Body=b'of s3fs', Metadata=attributes)
    s3.put_object(Bucket=bucket, Key='others/plain', Body=b'plain', CacheControl='max-age=60')
    s3.put_object(Bucket=bucket, Key='others/+%25?', Body=b'strange')
    sys.exit()

directory = sys.argv[4]
objects = {}
for page in s3.get_paginator('list_objects_v2').paginate(Bucket=bucket):
    for entry in page.get('Contents', []):
        objects[entry['Key']] = entry
files = {}
for root, directories, names in os.walk(directory):
    for name in names:
        path = os.path.join(root, name)
        if os.path.isfile(path) and not os.path.islink(path):
            files[os.path.relpath(path, directory)] = path
wrong = []
for name, path in files.items():
    if name not in objects:
        wrong.append(f'{name} is no object')
        continue
    answer = s3.get_object(Bucket=bucket, Key=name)
    with open(path, 'rb') as file:
        if hashlib.md5(answer['Body'].read()).digest() != hashlib.md5(file.read()).digest():
            wrong.append(f'{name} has other bytes')
    status, metadata = os.stat(path), answer['Metadata']
    if name == 'others/+%25?' and not metadata:
        # Of somebody else, and not touched.
        continue
    told = (int(metadata['mode']), int(metadata['uid']), int(metadata['gid']), int(float(metadata['mtime'])))
    if told != (status.st_mode, status.st_uid, status.st_gid, int(status.st_mtime)):
        wrong.append(f'{name}: {told} and {status}')
lost = [key for key in objects if not key.endswith('/') and not os.path.lexists(os.path.join(directory, key))]
uploads = s3.list_multipart_uploads(Bucket=bucket).get('Uploads', [])
wrong += [f'{key} is an object and no file' for key in lost] + [f'{upload["Key"]} is unfinished' for upload in uploads]
print(len(files), 'files')
sys.exit('\n'.join(wrong) or 0)
