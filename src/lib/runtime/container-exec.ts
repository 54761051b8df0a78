import type { Readable } from "node:stream";
import type Docker from "dockerode";

/** A program to run in a container that runs. */
export interface ContainerProgram {
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** What it reads on its standard input; default nothing. */
  readonly stdin?: Readable;
  /** Takes what it writes on its standard output, piece by piece; the next piece waits until it is done. */
  readonly onOutput: (piece: Buffer) => Promise<void>;
  /** Told of what it writes on its standard error. */
  readonly onError?: (piece: Buffer) => void;
  /** Default: the container's own. */
  readonly user?: string;
  readonly signal?: AbortSignal | undefined;
}

/** How it ended. */
export interface ContainerProgramEnd {
  readonly exitCode: number;
  /** The end of its standard error. */
  readonly stderr: string;
}

const STDERR_KEPT_CHARS = 4_000;
// Docker Engine API, "Attach to a container", stream format: stream (1), zeros (3), length (4), payload.
const FRAME_HEAD_BYTES = 8;
const STDERR_STREAM = 2;

interface Frame {
  readonly isError: boolean;
  readonly piece: Buffer;
}

/** Takes the frames of an attached stream apart, with back-pressure. @throws Error where it ends within one */
export async function* framesOf(stream: AsyncIterable<Buffer>): AsyncGenerator<Frame> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of stream) {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    while (rest.length >= FRAME_HEAD_BYTES) {
      const end = FRAME_HEAD_BYTES + rest.readUInt32BE(4);
      if (rest.length < end) break;
      yield { isError: rest[0] === STDERR_STREAM, piece: rest.subarray(FRAME_HEAD_BYTES, end) };
      rest = rest.subarray(end);
    }
  }
  if (rest.length > 0) throw new Error("the output of a program in a container was cut off");
}

/** Runs a program in a container through the Engine API, without a docker command on this machine. */
export async function runInContainer(
  docker: Docker,
  containerId: string,
  { args, env, stdin, onOutput, onError, user, signal }: ContainerProgram,
): Promise<ContainerProgramEnd> {
  const withInput = stdin !== undefined;
  const exec = await docker.getContainer(containerId).exec({
    Cmd: [...args],
    Env: Object.entries(env ?? {}).map(([name, value]) => `${name}=${value}`),
    ...(user === undefined ? {} : { User: user }),
    AttachStdin: withInput,
    AttachStdout: true,
    AttachStderr: true,
  });
  const stream = await exec.start({ hijack: withInput, stdin: withInput });
  const cut = (): void => {
    stream.destroy();
  };
  signal?.addEventListener("abort", cut, { once: true });
  try {
    // A source that fails must not leave the program waiting for more.
    stdin?.once("error", cut);
    stdin?.pipe(stream);
    let stderr = "";
    for await (const { isError, piece } of framesOf(stream)) {
      if (isError) {
        stderr = (stderr + piece.toString("utf8")).slice(-STDERR_KEPT_CHARS);
        onError?.(piece);
      } else {
        await onOutput(piece);
      }
    }
    signal?.throwIfAborted();
    const { ExitCode } = await exec.inspect();
    if (ExitCode === null) throw new Error(`${args[0]} in container ${containerId} was cut off`);
    return { exitCode: ExitCode, stderr: stderr.trim() };
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener("abort", cut);
    stdin?.destroy();
    stream.destroy();
  }
}
