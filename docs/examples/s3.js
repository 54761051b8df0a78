// Stores, reads and lists files on a master with the AWS SDK, as any S3 program would.
// The SDK takes keys and address from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL_S3.
import { createReadStream, createWriteStream, statSync } from "node:fs";
import { basename } from "node:path";
import { pipeline } from "node:stream/promises";
import {
  CreateBucketCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";

const s3 = new S3Client({ region: "us-east-1", forcePathStyle: true });
const [verb, bucket, name, target] = process.argv.slice(2);

if (verb === "put") {
  await s3.send(new CreateBucketCommand({ Bucket: bucket }));
  const { ETag } = await s3.send(
    new PutObjectCommand({
      Bucket: bucket,
      Key: basename(name),
      Body: createReadStream(name),
      ContentLength: statSync(name).size,
    }),
  );
  console.log(`stored ${bucket}/${basename(name)} as ${ETag}`);
} else if (verb === "get") {
  const { Body } = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: name }));
  await pipeline(Body, createWriteStream(target));
  console.log(`read ${bucket}/${name} into ${target}`);
} else if (verb === "ls") {
  const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket: bucket }));
  for (const { Key, Size } of Contents) console.log(`${Size} ${Key}`);
} else {
  console.error("usage: node docs/examples/s3.js put <bucket> <file> | get <bucket> <key> <file> | ls <bucket>");
  process.exitCode = 2;
}
