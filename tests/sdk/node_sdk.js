// The official Node SDK against the local service. Run by tests/sdk.rs, which starts the service.
'use strict';

const assert = require('node:assert/strict');
const crypto = require('node:crypto');
const fs = require('node:fs');
const http = require('node:http');
const COS = require('cos-nodejs-sdk-v5');

const Bucket = 'local-1250000000';
const Region = 'ap-beijing';
const Host = `${Bucket}.cos.${Region}.myqcloud.com`;
const place = { Bucket, Region };
const port = Number(process.env.PORT);
const MIB = 1 << 20;

function client(changes = {}) {
  return new COS({
    SecretId: process.env.COS_SECRETID,
    SecretKey: process.env.COS_SECRETKEY,
    Protocol: 'http:',
    Ip: `127.0.0.1:${port}`,
    ...changes,
  });
}

const cos = client();

// Bytes that a key and a size determine.
function content(size, seed) {
  return crypto.createCipheriv('aes-128-ctr', Buffer.alloc(16, seed), Buffer.alloc(16)).update(Buffer.alloc(size));
}

async function get(Key, more = {}) {
  return (await cos.getObject({ ...place, Key, ...more })).Body;
}

async function refused(status, code, promise) {
  const error = await promise.then(() => assert.fail('was not refused'), (thrown) => thrown);
  assert.deepEqual([error.statusCode, error.code], [status, code], JSON.stringify(error));
}

// Fetches a presigned URL of the bucket's host from this machine.
function fetchSigned(url, method = 'GET', body = undefined) {
  const { pathname, search } = new URL(url);
  const options = { host: '127.0.0.1', port, method, path: pathname + search, headers: { Host } };
  return new Promise((resolve, reject) => {
    const request = http.request(options, (answer) => {
      const pieces = [];
      answer.on('data', (piece) => pieces.push(piece));
      answer.on('end', () => resolve({ status: answer.statusCode, body: Buffer.concat(pieces).toString() }));
    });
    request.on('error', reject);
    request.end(body);
  });
}

const checks = {
  async putGetAndHead() {
    const data = content(100000, 1);
    const put = await cos.putObject({ ...place, Key: 'a', Body: data, ContentType: 'text/plain', 'x-cos-meta-mtime': '1.5' });
    assert.equal(put.ETag, `"${crypto.createHash('md5').update(data).digest('hex')}"`);
    assert.deepEqual(await get('a'), data);
    const { headers } = await cos.headObject({ ...place, Key: 'a' });
    assert.deepEqual([headers['content-length'], headers['x-cos-meta-mtime']], ['100000', '1.5']);
    assert.deepEqual(await get('a', { Range: 'bytes=5-9' }), data.subarray(5, 10));
    assert.deepEqual(await get('a', { Range: 'bytes=-7' }), data.subarray(-7));
    await refused(404, 'NoSuchKey', get('missing'));
    await refused(416, 'InvalidRange', get('a', { Range: 'bytes=100000-' }));
  },

  async awkwardKeys() {
    const keys = ['with space', 'a+b%20c%', "quotes'\"<>&", '腾讯云/文件 名', 'emoji 😀', 'a//b', "(1)[2]!*~'", 'dir/'];
    for (const key of keys) await cos.putObject({ ...place, Key: `awkward/${key}`, Body: key });
    for (const key of keys) assert.equal((await get(`awkward/${key}`)).toString(), key);
    const { Contents } = await cos.getBucket({ ...place, Prefix: 'awkward/', EncodingType: 'url' });
    const listed = Contents.map(({ Key }) => decodeURIComponent(Key)).sort();
    assert.deepEqual(listed, keys.map((key) => `awkward/${key}`).sort());
  },

  async listing() {
    for (const key of ['a', 'b/1', 'b/2', 'c/1', 'd']) await cos.putObject({ ...place, Key: `list/${key}`, Body: 'x' });
    const entries = [];
    let page = { NextMarker: '' };
    do {
      page = await cos.getBucket({ ...place, Prefix: 'list/', Delimiter: '/', MaxKeys: 2, Marker: page.NextMarker });
      entries.push(...page.Contents.map(({ Key }) => Key), ...page.CommonPrefixes.map(({ Prefix }) => Prefix));
    } while (page.IsTruncated === 'true');
    assert.deepEqual(entries.sort(), ['list/a', 'list/b/', 'list/c/', 'list/d']);
    const { Buckets } = await cos.getService({});
    assert.ok(Buckets.some(({ Name }) => Name === Bucket));
  },

  async copying() {
    await cos.putObject({ ...place, Key: "源 文+件(1)'!", Body: 'copied', 'x-cos-meta-a': '1' });
    const CopySource = `${Host}/${encodeURIComponent("源 文+件(1)'!")}`;
    const copy = await cos.putObjectCopy({ ...place, Key: 'copy/kept', CopySource });
    assert.ok(copy.ETag);
    assert.equal((await cos.headObject({ ...place, Key: 'copy/kept' })).headers['x-cos-meta-a'], '1');
    const replaced = { MetadataDirective: 'Replaced', 'x-cos-meta-b': '2' };
    await cos.putObjectCopy({ ...place, Key: 'copy/new', CopySource, ...replaced });
    const { headers } = await cos.headObject({ ...place, Key: 'copy/new' });
    assert.deepEqual([headers['x-cos-meta-a'], headers['x-cos-meta-b']], [undefined, '2']);
    // Over a threshold the high-level copy takes parts.
    await cos.putObject({ ...place, Key: 'copy/large', Body: content(5 * MIB, 2) });
    const sliced = { CopySource: `${Host}/copy/large`, SliceSize: MIB, ChunkSize: 2 * MIB, CopyChunkSize: 2 * MIB };
    await cos.sliceCopyFile({ ...place, Key: 'copy/sliced', CopySliceSize: MIB, ...sliced });
    assert.deepEqual(await get('copy/sliced'), content(5 * MIB, 2));
  },

  async multipartByHand() {
    const Key = '分块/by hand';
    const pieces = [content(MIB, 3), content(2 * MIB, 4), content(10, 5)];
    const { UploadId } = await cos.multipartInit({ ...place, Key });
    const etags = {};
    for (const PartNumber of [3, 1, 2]) {
      const part = await cos.multipartUpload({ ...place, Key, UploadId, PartNumber, Body: pieces[PartNumber - 1] });
      etags[PartNumber] = part.ETag;
    }
    const { Part } = await cos.multipartListPart({ ...place, Key, UploadId });
    assert.deepEqual(Part.map(({ PartNumber }) => PartNumber), ['1', '2', '3']);
    const parts = (numbers) => numbers.map((PartNumber) => ({ PartNumber, ETag: etags[PartNumber] }));
    await refused(400, 'InvalidPart', cos.multipartComplete({ ...place, Key, UploadId, Parts: parts([1, 3]) }));
    const done = await cos.multipartComplete({ ...place, Key, UploadId, Parts: parts([1, 2, 3]) });
    assert.match(done.ETag, /-3"$/);
    assert.deepEqual(await get(Key), Buffer.concat(pieces));
    await refused(404, 'NoSuchUpload', cos.multipartAbort({ ...place, Key, UploadId }));
  },

  async highLevelUploads() {
    const data = content(5 * MIB + 123, 6);
    fs.writeFileSync('up', data);
    const slices = { FilePath: 'up', SliceSize: MIB, ChunkSize: MIB };
    await cos.uploadFile({ ...place, Key: 'high/up', ...slices });
    assert.deepEqual(await get('high/up'), data);
    // An upload that somebody began is found and gone on with: the parts that it has are compared by their MD5.
    const Key = 'high/resumed';
    const { UploadId } = await cos.multipartInit({ ...place, Key });
    for (const PartNumber of [1, 3]) {
      const Body = data.subarray((PartNumber - 1) * MIB, PartNumber * MIB);
      await cos.multipartUpload({ ...place, Key, UploadId, PartNumber, Body });
    }
    const sent = [];
    const note = ({ url, method, qs }) => { if (method === 'PUT') sent.push(qs?.partNumber ?? new URL(url).searchParams.get('partNumber')); };
    cos.on('before-send', note);
    await cos.sliceUploadFile({ ...place, Key, ...slices });
    cos.off('before-send', note);
    assert.deepEqual(sent.map(Number).sort(), [2, 4, 5, 6]);
    assert.deepEqual(await get(Key), data);
    assert.deepEqual((await cos.multipartList({ ...place, Prefix: 'high/' })).Upload, []);
  },

  async deletingMany() {
    const keys = Array.from({ length: 10 }, (_, number) => `many/${number} & 腾`);
    for (const Key of keys) await cos.putObject({ ...place, Key, Body: '' });
    const { Deleted } = await cos.deleteMultipleObject({ ...place, Objects: keys.map((Key) => ({ Key })) });
    assert.deepEqual(Deleted.map(({ Key }) => Key), keys);
    assert.deepEqual((await cos.getBucket({ ...place, Prefix: 'many/' })).Contents, []);
    assert.equal((await cos.deleteObject({ ...place, Key: 'many/never there' })).statusCode, 204);
  },

  async presignedUrls() {
    const Key = 'signed/a b+c%d~e/腾讯云.txt';
    const put = cos.getObjectUrl({ ...place, Key, Sign: true, Method: 'PUT', Expires: 60 });
    assert.equal((await fetchSigned(put, 'PUT', 'through a URL')).status, 200);
    const url = cos.getObjectUrl({ ...place, Key, Sign: true, Expires: 60 });
    assert.deepEqual(await fetchSigned(url), { status: 200, body: 'through a URL' });
    assert.equal((await fetchSigned(url.replace('q-signature=', 'q-signature=0'))).status, 403);
  },

  async wrongKeys() {
    const stranger = client({ SecretId: 'AKIDstranger' });
    const forger = client({ SecretKey: 'guessed' });
    await refused(403, 'InvalidAccessKeyId', stranger.getBucket(place));
    await refused(403, 'SignatureDoesNotMatch', forger.putObject({ ...place, Key: 'forged', Body: 'x' }));
    await refused(404, 'NoSuchBucket', cos.getBucket({ Bucket: 'nowhere-1250000000', Region }));
  },

  // The settings without a bucket in the host: the service takes its first bucket then.
  async domainOfTheMachine() {
    const local = client({ Ip: undefined, Domain: `127.0.0.1:${port}`, ServiceDomain: `127.0.0.1:${port}` });
    await local.putObject({ ...place, Key: 'by domain', Body: 'x' });
    assert.equal((await get('by domain')).toString(), 'x');
  },
};

(async () => {
  for (const [name, check] of Object.entries(checks)) {
    console.log(name);
    await check();
  }
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
