import { systemClock } from "../../src/lib/kernel/clock.ts";
import type { CronWorker, CronWorkers, MasterOrders } from "../support/cron-worker.ts";
import { type ClientMessage, FaultProxy, type Verdict } from "../support/fault-proxy.ts";
import type { PoolOptions } from "../../src/lib/postgres/pool.ts";
import type { Fault, Harm, Scenario } from "./scenario.ts";

/** A master that takes longer to end than this, when it is told to, hangs; on a machine with much else to do, too. */
const STOP_MS = 60_000;
/** Lines of a master's log that are shown where a scenario fails. */
const LOG_LINES = 15;

/** One master: a process, and the proxy through which alone it reaches the ledger. */
class Master {
  readonly proxy: FaultProxy;
  readonly #workers: CronWorkers;
  readonly #orders: MasterOrders;
  readonly #log: string[] = [];
  #worker: CronWorker | null = null;

  constructor(workers: CronWorkers, orders: MasterOrders, judge: (message: ClientMessage) => Verdict) {
    this.#workers = workers;
    this.#orders = orders;
    this.proxy = new FaultProxy(orders.host, orders.port, judge);
  }

  get log(): readonly string[] {
    return [...this.#log, ...(this.#worker?.log ?? [])].slice(-LOG_LINES);
  }

  get worker(): CronWorker | null {
    return this.#worker;
  }

  /** Through the proxy, which listens already. */
  async serve(port: number): Promise<void> {
    this.#worker = this.#workers.take();
    await this.#worker.serve({ ...this.#orders, host: "127.0.0.1", port });
  }

  async kill9(): Promise<void> {
    const worker = this.#leave("killed");
    await worker?.kill9();
    if (worker !== null) this.#workers.give(worker);
  }

  /** @returns true where it ended by itself, false where it had to be killed */
  async stop(): Promise<boolean> {
    const worker = this.#worker;
    if (worker === null) return true;
    const done = new AbortController();
    const late = systemClock.sleep(STOP_MS, done.signal).then(
      () => false,
      () => true,
    );
    const hasStopped = await Promise.race([worker.stop().then(() => true), late]);
    done.abort();
    if (!hasStopped) await worker.kill9();
    // Killed by another fault meanwhile, it has been given back already.
    if (this.#worker === worker) {
      this.#leave(hasStopped ? "stopped" : "hangs");
      this.#workers.give(worker);
    }
    return hasStopped;
  }

  #leave(how: string): CronWorker | null {
    const worker = this.#worker;
    this.#worker = null;
    this.#log.push(...(worker?.log ?? []), how);
    return worker;
  }
}

/** The masters of a scenario, and the faults that come upon them. */
export class Fleet implements AsyncDisposable {
  /** What masters did that no fault explains. */
  readonly complaints: string[] = [];
  /** Faults that came, in order. */
  readonly struck: Fault[] = [];
  readonly #masters: readonly Master[];
  readonly #sent = { work: 0, lease: 0 };
  readonly #waiting: Set<Fault>;
  readonly #doing = new Set<Promise<void>>();
  readonly #end = new AbortController();
  readonly #ports = new Map<Master, number>();

  constructor(scenario: Scenario, engine: MasterOrders["engine"], workers: CronWorkers, ledger: PoolOptions) {
    this.#waiting = new Set(scenario.faults);
    this.#masters = scenario.clockSkewsMs.map((clockSkewMs, index) => {
      const orders = {
        engine,
        host: ledger.host,
        port: ledger.port,
        database: ledger.database,
        user: ledger.user,
        password: String(ledger.password),
        node: `master-${index}`,
        clockSkewMs,
        hasLease: scenario.hasLease,
        leaseTtlMs: scenario.leaseTtlMs,
        freeTierBytes: scenario.freeTierBytes,
        fulaPerGibMonth: scenario.fulaPerGibMonth,
      };
      return new Master(workers, orders, (message) => this.#judge(index, message));
    });
  }

  /** Messages of work and of lease sessions that the masters have sent so far. */
  get sent(): { readonly work: number; readonly lease: number } {
    return this.#sent;
  }

  /** The last lines that each master logged. */
  get logs(): readonly string[] {
    return this.#masters.flatMap(({ log }, index) => log.map((line) => `master-${index}: ${line}`));
  }

  /** Lets every master serve, and time run for the faults that wait for it. */
  async start(): Promise<void> {
    await Promise.all(
      this.#masters.map(async (master) => {
        const port = await master.proxy.listen();
        this.#ports.set(master, port);
        await master.serve(port);
      }),
    );
    for (const fault of this.#waiting) {
      if ("afterMs" in fault.at) this.#do(this.#strikeLater(fault, fault.at.afterMs));
    }
  }

  /** Lets no more faults come, waits for the end of those that did, and ends every master as an operator would. */
  async stop(): Promise<void> {
    this.#end.abort();
    while (this.#doing.size > 0) await Promise.all(this.#doing);
    const haveStopped = await Promise.all(this.#masters.map(async (master) => master.stop()));
    for (const [index, hasStopped] of haveStopped.entries()) {
      if (!hasStopped) this.complaints.push(`master-${index} did not end within ${STOP_MS} ms of being told to`);
    }
    await Promise.all(this.#masters.map(async ({ proxy }) => proxy[Symbol.asyncDispose]()));
  }

  /** Ends what is left, however the scenario went. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.abort();
    await Promise.all(this.#masters.map(async (master) => master.kill9()));
    while (this.#doing.size > 0) await Promise.all(this.#doing);
    await Promise.all(this.#masters.map(async ({ proxy }) => proxy[Symbol.asyncDispose]()));
  }

  #judge(sender: number, { session }: ClientMessage): Verdict {
    const kind = session.includes("/lease") ? "lease" : "work";
    this.#sent[kind] += 1;
    for (const fault of this.#waiting) {
      const { at } = fault;
      if (!("message" in at) || at.session !== kind || at.message > this.#sent[kind]) continue;
      this.#waiting.delete(fault);
      this.struck.push(fault);
      if (fault.harm.kind === "connection") return fault.harm.verdict;
      this.#do(this.#strike(fault.master ?? sender, fault.harm));
    }
    return "pass";
  }

  async #strikeLater(fault: Fault, afterMs: number): Promise<void> {
    await this.#sleep(afterMs);
    if (this.#end.signal.aborted) return;
    this.#waiting.delete(fault);
    this.struck.push(fault);
    await this.#strike(fault.master ?? 0, fault.harm);
  }

  async #strike(index: number, harm: Harm): Promise<void> {
    const master = this.#masters[index];
    const worker = master?.worker ?? null;
    // It is down from another fault.
    if (master === undefined || worker === null) return;
    switch (harm.kind) {
      case "kill":
        await master.kill9();
        await this.#serveAgain(master, harm.restartMs);
        break;
      case "terminate":
        if (!(await master.stop())) this.complaints.push(`master-${index} did not end within ${STOP_MS} ms`);
        await this.#serveAgain(master, harm.restartMs);
        break;
      case "pause":
        worker.pause();
        await this.#sleep(harm.forMs);
        worker.resume();
        break;
      case "connection":
        master.proxy.resetAll();
        break;
      case "slow":
        master.proxy.delayMs = harm.delayMs;
        await this.#sleep(harm.forMs);
        master.proxy.delayMs = 0;
        break;
    }
  }

  async #serveAgain(master: Master, restartMs: number): Promise<void> {
    await this.#sleep(restartMs);
    const port = this.#ports.get(master);
    if (this.#end.signal.aborted || master.worker !== null || port === undefined) return;
    await master.serve(port);
  }

  #do(deed: Promise<void>): void {
    const done = deed.finally(() => this.#doing.delete(done));
    this.#doing.add(done);
  }

  async #sleep(ms: number): Promise<void> {
    await systemClock.sleep(ms, this.#end.signal).catch(() => {});
  }
}
