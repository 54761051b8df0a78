import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { LoadedConfig } from "../../../src/lib/config/load.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { silentLog } from "../../../src/lib/kernel/log.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import type { JoinBundle } from "../../../src/lib/membership/join-bundle.ts";
import { createMasterToken } from "../../../src/lib/membership/token-table.ts";
import { writeEpochRow } from "../../../src/lib/recovery/postgres/epoch-row.ts";
import { keepStandbys } from "../../../src/lib/server/sync-keeper.ts";
import { controlPlaneOf } from "../../../src/lib/stack/control-plane-bundle.ts";
import { readAuthority } from "../../../src/lib/stack/control-plane-keys.ts";
import { noteEpoch, readKnownEpochs } from "../../../src/lib/stack/ledger-epoch-file.ts";
import { openLedgerStore } from "../../../src/lib/stack/ledger-store.ts";
import { openLedger } from "../../../src/lib/stack/ledger.ts";
import { openOwnServer } from "../../../src/lib/stack/own-server.ts";
import { expectDone } from "../../support/cli.ts";
import { makeBundle } from "../../support/federation.ts";
import { findFreePort } from "../../support/free-port.ts";
import { newLedgerBox } from "../../support/ledger-records.ts";
import { type NatsServers, startNatsServers } from "../../support/nats-servers.ts";
import { PG_BIN_DIR } from "../../support/postgres-pair.ts";
import { makeTestBox, type TestBox } from "../../support/test-box.ts";
import { until } from "../../support/until.ts";

let servers: NatsServers;
let first: TestBox;
let port: number;
const opened = new AsyncDisposableStack();
const DEPS = { clock: systemClock, random: systemRandom, log: silentLog };

async function boxOf(name: string): Promise<{ readonly box: TestBox; readonly args: readonly string[] }> {
  const box = opened.use(await makeTestBox());
  const nkeyFile = join(box.root, "user.nk");
  await writeFile(nkeyFile, servers.user.seed, { mode: 0o600 });
  const settings: Readonly<Record<string, string>> = {
    "controlPlane.mode": "nats",
    "controlPlane.servers": servers.urls.join(","),
    "controlPlane.nkeyFile": nkeyFile,
    "controlPlane.timeout": "60s",
  };
  const sets = Object.entries(settings).flatMap(([key, value]) => ["--set", `${key}=${value}`]);
  return { box, args: [...box.joinArgs, "--no-start", "--no-schedules", "--node-name", name, ...sets] };
}

/** Has the ledger's server let other boxes in by certificates, and begins its first epoch, as a standby that is added does. */
async function beginEpoch(): Promise<void> {
  const loaded = await first.load();
  const store = opened.use(await openLedgerStore(loaded, { ...DEPS, signal: new AbortController().signal }));
  const server = await openOwnServer(loaded, { ...DEPS, env: {}, part: "serve" });
  await store.put("box", { ...newLedgerBox("other"), state: "joining" }, 0, "other");
  {
    await using _ = keepStandbys(
      { settings: () => loaded, store, server, random: systemRandom },
      { clock: systemClock, log: silentLog, intervalMs: 100 },
    );
    await until("the ledger has an epoch", async () => (await store.get("epoch")).value?.phase === "open");
  }
  // Nobody else writes it from now on.
  const { revision, value } = await store.confirm("epoch");
  if (value === null) throw new Error("there is no epoch");
  // As after its right was reaffirmed: from the second epoch on, sessions have to say which one they mean.
  const second = { ...value, number: 2, uuid: systemRandom.uuid(), token: systemRandom.uuid() };
  await using session = await server.connect();
  const row = { number: 2n, uuid: second.uuid, timeline: 1, switchLsn: null, primary: "one", reason: "a test" };
  await writeEpochRow(session, row);
  expect(await store.put("epoch", second, revision)).not.toBeNull();
  await noteEpoch(loaded.paths.stateDir, second);
}

beforeAll(async () => {
  servers = opened.use(await startNatsServers(1));
  port = await findFreePort();
  const made = await boxOf("one");
  first = made.box;
  const own = [`postgres.binDir=${PG_BIN_DIR}`, `postgres.announce=127.0.0.1:${port}`, `postgres.port=${port}`];
  expectDone(await first.run([...made.args, ...own.flatMap((setting) => ["--set", setting])]), "join");
  // Holds the server, which would stop with the last who uses it.
  {
    await using _ = await openLedger(await first.load(), { ...DEPS, part: "test" });
    await beginEpoch();
  }
  opened.use(await openLedger(await first.load(), { ...DEPS, part: "test" }));
});

afterAll(async () => {
  await opened.disposeAsync();
});

async function ledgerUrl(): Promise<string> {
  const { config, secrets } = await first.load();
  const { user, database } = config.postgres;
  const password = encodeURIComponent(secrets.postgresPassword?.reveal() ?? "");
  return `postgres://${user}:${password}@127.0.0.1:${port}/${database}?sslmode=require`;
}

async function joinExternally(name: string): Promise<{ readonly box: TestBox; readonly args: readonly string[] }> {
  const { box, args } = await boxOf(name);
  const external = args.map((arg) => (arg === "embedded" ? "external" : arg));
  return { box, args: [...external, "--postgres-url", await ledgerUrl()] };
}

/** As `token create` makes it, which needs an IPFS Cluster. */
async function makeToken(): Promise<string> {
  const loaded = await first.load();
  const bundle = makeBundle({
    clusterId: loaded.config.node.clusterId ?? "",
    issuer: "one",
    secrets: requireSecrets(loaded),
    epochs: { masters: 1, cluster: null, swarm: null },
    controlPlane: await controlPlaneOf(loaded, []),
    trustedKeys: [],
  });
  await using ledger = await openLedger(loaded, { ...DEPS, part: "test" });
  const { text } = await createMasterToken(ledger.pool, bundle, { validMs: 3_600_000, random: systemRandom });
  return text.reveal();
}

function requireSecrets({ secrets }: LoadedConfig): JoinBundle["secrets"] {
  const { systemKey, jwtSecret, sessionSecret, encryptionKey } = secrets;
  if (systemKey === null || jwtSecret === null || sessionSecret === null || encryptionKey === null)
    throw new Error("the first master has not all of its secrets");
  const none = { clusterSecret: null, swarmKey: null, otherMasterSecrets: null };
  return { systemKey, jwtSecret, sessionSecret, encryptionKey, ...none };
}

async function expectIn(box: TestBox): Promise<void> {
  const { paths } = await box.load();
  const theirs = await readAuthority((await first.load()).paths.keysDir);
  expect((await readAuthority(paths.keysDir))?.certificate).toBe(theirs?.certificate);
  expect((await readKnownEpochs(paths.stateDir))?.followed).toMatchObject({ number: 2, primary: "one" });
}

test("a master that joins by a token when the ledger has an epoch already gets the authority by the way", async () => {
  const { box, args } = await joinExternally("two");
  expectDone(await box.run([...args, "--token", await makeToken()]), "join");
  await expectIn(box);
});

test("one that joins without a token is told what it lacks, and gets it once it is let in", async () => {
  const env = Object.fromEntries(
    (await readFile((await first.load()).paths.envFile, "utf8"))
      .split("\n")
      .flatMap((line) => (/^(?:[A-Z_]+)=/.test(line) ? [line.split(/=(.*)/s).slice(0, 2)] : [])),
  );
  const { box, args: plain } = await joinExternally("three");
  const args = [...plain, "--set", `node.clusterId=${(await first.load()).config.node.clusterId}`];
  const refused = await box.run(args, { env });
  expect(refused.stderr).toMatch(/FULA_TOKEN_NEEDED.*member add masters/s);
  const [, endpoint = ""] = /member add masters (\S+)/.exec(refused.stderr) ?? [];
  expectDone(await first.run(["membership", "member", "add", "masters", endpoint, "--name", "three"]), "member add");
  expectDone(await box.run(args, { env }), "join");
  await expectIn(box);
});
