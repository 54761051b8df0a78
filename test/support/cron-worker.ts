import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** How a worker serves as a master; plain data, it crosses to the process. */
export interface MasterOrders {
  /** `ours`, or one that is right only as long as nothing fails: to see that it is found out. */
  readonly engine: "ours" | "fragile";
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly password: string;
  /** The master's name. */
  readonly node: string;
  /** Of its clock, against the machine's. */
  readonly clockSkewMs: number;
  readonly hasLease: boolean;
  readonly leaseTtlMs: number;
  readonly freeTierBytes: number;
  /** Decimal text. */
  readonly fulaPerGibMonth: string;
}

/** What is said to a worker. */
export type WorkerOrder = { readonly order: "serve"; readonly as: MasterOrders } | { readonly order: "stop" };

/** What a worker says. */
export type WorkerEvent =
  | { readonly event: "ready" }
  | { readonly event: "stopped" }
  | { readonly event: "log"; readonly line: string };

const SCRIPT = join(import.meta.dirname, "children", "cron-worker.ts");

/** A process that serves as a master, and, after it was stopped, as another one. */
export class CronWorker {
  /** What it logged as the present master, newest last. */
  readonly log: string[] = [];
  readonly #process: ChildProcess;
  readonly #ready: Promise<void>;
  /** The newest order to serve has been sent; one to stop must not overtake it. */
  #told: Promise<void> = Promise.resolve();
  #stopping: Promise<void> | null = null;
  #onStopped: (() => void) | null = null;
  #hasEnded = false;

  constructor(compileCacheDir: string) {
    const env = { PATH: process.env["PATH"], NODE_COMPILE_CACHE: compileCacheDir, NODE_NO_WARNINGS: "1" };
    this.#process = fork(SCRIPT, [], { env, execArgv: [], stdio: ["ignore", "ignore", "pipe", "ipc"] });
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#ready = promise;
    this.#process.on("message", (message: WorkerEvent) => {
      if (message.event === "ready") resolve();
      else if (message.event === "log") this.log.push(message.line);
      else this.#onStopped?.();
    });
    this.#process.stderr?.setEncoding("utf8").on("data", (text: string) => this.log.push(text));
    const ended = (): void => {
      this.#hasEnded = true;
      resolve();
      this.#onStopped?.();
    };
    this.#process.on("error", (error) => {
      this.log.push(String(error));
      // One that could not be started never exits.
      if (this.#process.pid === undefined) ended();
    });
    this.#process.once("exit", ended);
  }

  /** False once its process is gone, whoever ended it. */
  get isAlive(): boolean {
    return !this.#hasEnded;
  }

  async serve(as: MasterOrders): Promise<void> {
    this.#told = this.#ready.then(() => {
      this.log.length = 0;
      this.#tell({ order: "serve", as });
    });
    await this.#told;
  }

  /** Tells it to give up the lease and end its work as at SIGTERM. Fulfilled when it has, or when its process is gone. */
  async stop(): Promise<void> {
    // Told twice, as by two faults at one time, it ends once.
    this.#stopping ??= this.#stopOnce().finally(() => {
      this.#stopping = null;
    });
    await this.#stopping;
  }

  async #stopOnce(): Promise<void> {
    await this.#told;
    if (this.#hasEnded) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onStopped = resolve;
    this.#tell({ order: "stop" });
    await promise;
    this.#onStopped = null;
  }

  pause(): void {
    this.#process.kill("SIGSTOP");
  }

  resume(): void {
    this.#process.kill("SIGCONT");
  }

  /** Ends it as the kernel would: no handler, no clean-up. */
  async kill9(): Promise<void> {
    if (this.#hasEnded) return;
    const exited = once(this.#process, "exit");
    this.#process.kill("SIGKILL");
    await exited;
  }

  #tell(order: WorkerOrder): void {
    // A process that was killed a moment ago takes no orders; its exit is what everybody waits for.
    if (this.#process.connected) this.#process.send(order, () => {});
  }
}

/** Keeps workers at hand, so that a new master need not wait for its process. */
export class CronWorkers implements AsyncDisposable {
  readonly #idle: CronWorker[] = [];
  readonly #all = new Set<CronWorker>();
  /** Where processes keep what they have compiled: the next one then starts in a third of the time. */
  readonly #compileCacheDir = mkdtempSync(join(tmpdir(), "fula-test-"));

  /** @param spares processes that wait in advance */
  constructor(spares: number) {
    for (let spare = 0; spare < spares; spare += 1) this.#idle.push(this.#start());
  }

  take(): CronWorker {
    const idle = this.#idle.shift();
    if (idle?.isAlive === true) return idle;
    return idle === undefined ? this.#start() : this.take();
  }

  /** Takes one back that was stopped; for one that is gone, another process is started. */
  give(worker: CronWorker): void {
    if (!worker.isAlive) this.#all.delete(worker);
    this.#idle.push(worker.isAlive ? worker : this.#start());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#all].map(async (worker) => worker.kill9()));
    rmSync(this.#compileCacheDir, { recursive: true, force: true });
  }

  #start(): CronWorker {
    const worker = new CronWorker(this.#compileCacheDir);
    this.#all.add(worker);
    return worker;
  }
}
