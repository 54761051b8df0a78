import type Docker from "dockerode";

// Docker Engine API, "Attach to a container", stream format: stream (1), zeros (3), length (4), payload.
const FRAME_HEAD_BYTES = 8;
const LINE_CHARS = 300;

function textOf(framed: Buffer): string {
  const pieces: Buffer[] = [];
  let at = 0;
  while (at + FRAME_HEAD_BYTES <= framed.length) {
    const length = framed.readUInt32BE(at + 4);
    pieces.push(framed.subarray(at + FRAME_HEAD_BYTES, at + FRAME_HEAD_BYTES + length));
    at += FRAME_HEAD_BYTES + length;
  }
  return Buffer.concat(pieces).toString("utf8");
}

/** The last lines that a container has written, shortened; none where its log cannot be read. */
export async function lastLogLines(docker: Docker, containerId: string, lines: number): Promise<readonly string[]> {
  try {
    const options = { stdout: true, stderr: true, tail: lines, follow: false } as const;
    const text = textOf(await docker.getContainer(containerId).logs(options));
    return text
      .split("\n")
      .map((line) => line.trimEnd().slice(0, LINE_CHARS))
      .filter((line) => line !== "");
  } catch {
    // It only makes an error that is thrown anyway easier to understand.
    return [];
  }
}
