import { resolve } from "node:path";
import { expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { silentLog } from "../../../src/lib/kernel/log.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { migrateUp } from "../../../src/lib/postgres/migrator.ts";
import { type ConnectionOptions, createPool } from "../../../src/lib/postgres/pool.ts";
import { openSession } from "../../../src/lib/postgres/session.ts";
import type { Epoch } from "../../../src/lib/recovery/epoch.ts";
import { type Lsn, parseLsn } from "../../../src/lib/recovery/lsn.ts";
import { detachStandby } from "../../../src/lib/recovery/postgres/detach.ts";
import { followPrimary, type Following } from "../../../src/lib/recovery/postgres/follow.ts";
import { copyPrimary } from "../../../src/lib/recovery/postgres/full-base.ts";
import { lookInSync } from "../../../src/lib/recovery/postgres/in-sync.ts";
import type { LedgerServer } from "../../../src/lib/recovery/postgres/ledger-server.ts";
import { promoteStandby } from "../../../src/lib/recovery/postgres/promote.ts";
import type { ReplicaWork } from "../../../src/lib/recovery/postgres/replica-work.ts";
import { rewindData } from "../../../src/lib/recovery/postgres/rewind.ts";
import { readSiteFile, runScript, writeSiteFile } from "../../../src/lib/recovery/postgres/site-files.ts";
import { ensureSlot } from "../../../src/lib/recovery/postgres/slots.ts";
import { openContainerSite } from "../../../src/lib/runtime/postgres-site-container.ts";
import { infra } from "../../infra/infra.ts";
import { runContainer, startNetwork, uniqueName } from "../../support/containers.ts";
import { newEpoch, patiently } from "../../support/ledger-servers.ts";
import { until } from "../../support/until.ts";

const LONG_MS = 900_000;
const ROOT = "/var/lib/postgresql/data";
const START = resolve(import.meta.dirname, "../../../templates/docker/postgres-start.sh");
const HBA = "local all all trust\nhost all,replication all all trust\n";
/** When the server read its files last. */
const LOADED = "select pg_conf_load_time()::text as at";
const { signal } = new AbortController();

/** A server as the stack has it: the template's start script, its data below the volume's root. */
async function startServer(node: string, network: string, role: "own" | "standby") {
  const { docker, images } = infra();
  const volume = uniqueName(node);
  const container = await runContainer(node, {
    image: images.postgres,
    networks: [network],
    aliases: [node],
    entrypoint: ["/bin/sh", "/fula/postgres-start.sh"],
    volumes: { [volume]: ROOT, [START]: "/fula/postgres-start.sh:ro" },
    env: {
      POSTGRES_DB: "ledger",
      POSTGRES_PASSWORD: "none",
      PGDATA: `${ROOT}/pgdata`,
      FULA_POSTGRES_ROLE: role,
      POSTGRES_INITDB_ARGS: "--data-checksums",
    },
  });
  const site = await openContainerSite({
    docker,
    container: container.name,
    host: container.address,
    port: 5432,
    clock: systemClock,
    random: systemRandom,
  });
  const connection = async (): Promise<ConnectionOptions> => {
    const { NetworkSettings } = await container.container.inspect();
    const host = Object.values(NetworkSettings.Networks)[0]?.IPAddress ?? "";
    return { host, port: 5432, database: "ledger", user: "postgres", password: "none", part: "test", node };
  };
  const server: LedgerServer = {
    node,
    site,
    connect: async () => await openSession(await connection(), systemClock),
    clock: systemClock,
    log: silentLog,
  };
  return {
    server,
    connection,
    ask: async (text: string): Promise<readonly Record<string, unknown>[]> => {
      await using session = await server.connect();
      return (await session.client.query<Record<string, unknown>>(text)).rows;
    },
    helpers: async (): Promise<number> => {
      const found = await docker.listContainers({ all: true, filters: { name: [`${container.name}-recovery-`] } });
      return found.length;
    },
    async [Symbol.asyncDispose]() {
      await container[Symbol.asyncDispose]();
      await docker.getVolume(volume).remove({ force: true });
    },
  };
}

type Running = Awaited<ReturnType<typeof startServer>>;

function following(primary: Running, node: string, epoch: Epoch): Following {
  const { server } = primary;
  const conninfo = { host: server.node, port: "5432", user: "postgres", dbname: "ledger" };
  return {
    primary: { node: server.node, conninfo, connect: async () => await server.connect() },
    epoch,
    slot: `fula_${node}`,
    settings: {},
  };
}

function workOf(own: Running, primary: Running, epoch: Epoch, tail: ReplicaWork["tail"] = null): ReplicaWork {
  return {
    server: own.server,
    database: "ledger",
    session: 42n,
    following: following(primary, own.server.node, epoch),
    epoch,
    tail,
    archive: null,
    limits: { programMs: 240_000, silenceMs: 120_000 },
    onProgress: () => {},
  };
}

async function flushed(primary: Running): Promise<Lsn> {
  const [row] = await primary.ask("select pg_current_wal_flush_lsn()::text as lsn");
  return parseLsn(String(row?.["lsn"]));
}

async function inSync(own: Running, primary: Running, epoch: Epoch): Promise<void> {
  const target = await flushed(primary);
  await until(`${own.server.node} is in sync`, async () => {
    const look = await lookInSync(own.server, following(primary, own.server.node, epoch), target);
    return look.ok;
  });
}

test(
  "servers in containers are copied, promoted and rewound through helpers on their volumes",
  async () => {
    await using network = await startNetwork("rungs");
    await using one = await startServer("one", network.name, "own");
    await using two = await startServer("two", network.name, "standby");
    await until(
      "the first server answers",
      async () =>
        await one.ask("select 1").then(
          () => true,
          () => false,
        ),
      120_000,
    );
    const pool = createPool(await one.connection());
    await migrateUp(pool);
    await pool.end();
    const first = newEpoch(1n);
    await one.ask(
      `insert into ledger_epochs (number, uuid, timeline, primary_node, reason) values (1, '${first.uuid}', 1, 'one', 'a drill')`,
    );
    for (const { server } of [one, two]) {
      await using files = await server.site.open(signal);
      await writeSiteFile(files, `${ROOT}/pg_hba.conf`, HBA);
    }
    const [before] = await one.ask(LOADED);
    await one.server.site.reload();
    await until("the first server lets the second in", async () => {
      const [now] = await one.ask(LOADED);
      return now?.["at"] !== before?.["at"];
    });
    {
      await using session = await one.server.connect();
      await ensureSlot(session, "fula_two");
    }
    await copyPrimary(workOf(two, one, first), signal);
    await followPrimary(two.server, following(one, "two", first), patiently());
    await inSync(two, one, first);

    const second = newEpoch(2n);
    const { receivedLsn } = await detachStandby(two.server, second, patiently());
    await one.ask("insert into user_credits (user_id) values ('one alone')");
    const endLsn = await flushed(one);
    await one.server.site.stop("immediate");
    await promoteStandby(two.server, { epoch: second, reason: "a drill", settings: {} }, patiently());
    {
      await using session = await two.server.connect();
      await ensureSlot(session, "fula_one");
    }
    const tail = { timeline: 1, forkLsn: receivedLsn, endLsn };
    await rewindData(workOf(one, two, second, tail), 0n, signal);
    await followPrimary(one.server, following(two, "one", second), patiently());
    await inSync(one, two, second);
    expect(await one.ask("select user_id from user_credits")).toEqual([]);
    await using files = await one.server.site.open(signal);
    const rows = await readSiteFile(files, `${ROOT}/salvage/2/42/rows/user_credits.jsonl`);
    expect(JSON.parse(rows ?? "")).toMatchObject({ table: "user_credits", row: { user_id: "one alone" } });
    const beside = await runScript(files, "list the root", 'ls "$1"', [ROOT]);
    expect(beside.split("\n").filter((name) => /^data\.|inprogress|^conf\.kept/.test(name))).toEqual([]);
    await files[Symbol.asyncDispose]();
    expect([await one.helpers(), await two.helpers()]).toEqual([0, 0]);
  },
  LONG_MS,
);
