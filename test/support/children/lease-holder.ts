import { z } from "zod";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { type Log, silentLog } from "../../../src/lib/kernel/log.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { startLease } from "../../../src/lib/lease/lease.ts";
import { fenceCte, fenceValues } from "../../../src/lib/postgres/fence.ts";
import { createPool } from "../../../src/lib/postgres/pool.ts";

/**
 * A master that does nothing but hold the lease, told what to do over IPC: it tells when it has the lease and when not,
 * and writes under its fence, again and again, for as long as it believes that it may.
 */
const options = z
  .object({
    connection: z.object({
      host: z.string(),
      port: z.number(),
      database: z.string(),
      user: z.string(),
      password: z.string(),
      part: z.string(),
      node: z.string(),
    }),
    ttlMs: z.number(),
    writeEveryMs: z.number(),
  })
  .parse(JSON.parse(process.argv[2] ?? ""));

const tell = (event: string, fields: object = {}): void => {
  process.send?.({ event, atMs: Date.now(), ...fields });
};
const log: Log = {
  ...silentLog,
  info: (event, fields) => {
    tell(event, { fields });
  },
  warn: (event, fields) => {
    tell(event, { fields: JSON.parse(JSON.stringify(fields ?? {})) });
  },
};

const pool = createPool({ ...options.connection, max: 2 });
const lease = await startLease({
  connection: options.connection,
  node: options.connection.node,
  ttlMs: options.ttlMs,
  exclusive: true,
  clock: systemClock,
  random: systemRandom,
  log,
  whileHeld: async (fence, signal) => {
    tell("held", { epoch: fence?.epoch.toString() });
    // Once more when it is over: what comes late has to be refused, whoever looked at the signal in time.
    for (let wasOver = false; !wasOver; ) {
      wasOver = signal.aborted;
      const { rowCount } = await pool.query(
        `with ${fenceCte(1)} insert into writes (epoch, holder) select $2::bigint, $1::text from fence where ok`,
        [...fenceValues(fence)],
      );
      tell(rowCount === 0 ? "refused" : "written", { epoch: fence?.epoch.toString() });
      await systemClock.sleep(options.writeEveryMs);
    }
    tell("let-go", { epoch: fence?.epoch.toString() });
  },
});
process.on("message", () => {
  void lease
    .release()
    .then(async () => await pool.end())
    .then(() => {
      process.disconnect();
    });
});
