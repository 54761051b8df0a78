import { Client } from "pg";
import { systemClock } from "../../src/lib/kernel/clock.ts";

/** A row whose commit was acknowledged. */
interface Ack {
  readonly id: string;
  readonly atMs: number;
}

/** Clients of plain pg that write to one server without pause, whatever becomes of it, and note what it acknowledged. */
export class AckWriters implements AsyncDisposable {
  readonly acks: Ack[] = [];
  readonly #options: { readonly port: number; readonly epoch: string; readonly tag: string };
  readonly #clients = new Set<Client>();
  readonly #writing: readonly Promise<void>[];
  #isEnding = false;
  #given = 0;

  /** @param options.epoch that the sessions mean; `tag` begins the ids */
  constructor(options: { readonly port: number; readonly epoch: string; readonly tag: string }, count = 4) {
    this.#options = options;
    this.#writing = Array.from({ length: count }, async () => await this.#write());
  }

  /** Acknowledged after a time of the monotonic clock. */
  since(atMs: number): readonly Ack[] {
    return this.acks.filter((ack) => ack.atMs > atMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isEnding = true;
    for (const client of this.#clients) client.connection.stream.destroy();
    await Promise.all(this.#writing);
  }

  async #write(): Promise<void> {
    while (!this.#isEnding) {
      const { port } = this.#options;
      const who = { host: "127.0.0.1", port, database: "pinning_service", user: "pinning_user" };
      const client = new Client({ ...who, password: "a-ledgers-password", connectionTimeoutMillis: 2_000 });
      client.on("error", () => {});
      this.#clients.add(client);
      try {
        await client.connect();
        await client.query("select set_config('fula.ledger_epoch', $1, false)", [this.#options.epoch]);
        while (!this.#isEnding) await this.#writeOne(client);
      } catch {
        await systemClock.sleep(20);
      } finally {
        this.#clients.delete(client);
        client.connection.stream.destroy();
      }
    }
  }

  async #writeOne(client: Client): Promise<void> {
    this.#given += 1;
    const id = `${this.#options.tag}-${this.#given}`;
    let isUnsure = false;
    const onNotice = (): void => {
      isUnsure = true;
    };
    client.on("notice", onNotice);
    await client.query("insert into user_credits (user_id) values ($1)", [id]);
    client.off("notice", onNotice);
    if (!isUnsure) this.acks.push({ id, atMs: systemClock.monotonicMs() });
  }
}
