import { expectDone } from "../support/cli.ts";
import { randomBytes } from "node:crypto";
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { loadConfig } from "../../src/lib/config/load.ts";
import { createPool, type Pool } from "../../src/lib/postgres/pool.ts";
import { removeProject } from "../../src/lib/runtime/compose-remove.ts";
import { infra } from "../infra/infra.ts";
import { startCluster, type TestCluster } from "../support/cluster-processes.ts";
import { eventually } from "../support/until.ts";
import { type HostMember, placeMember, removeMember, settingsOf } from "./federation/member.ts";

const PASSWORD = "old $ecret #1 with spaces";

let box: HostMember;
let cluster: TestCluster;

beforeEach(async () => {
  box = await placeMember(`fula-adopt-${randomBytes(4).toString("hex")}`, "old");
  cluster = await startCluster([{ name: "writer" }]);
});

afterEach(async () => {
  await removeMember(box);
  const { signal } = new AbortController();
  await removeProject(infra().docker, box.project, { signal, report: () => {}, volumes: true });
  await cluster[Symbol.asyncDispose]();
});

function connect(): Pool {
  const { port, database, user } = { port: box.ports.postgres, database: "pinning_service", user: "pinning_user" };
  return createPool({
    host: "127.0.0.1",
    port,
    database,
    user,
    password: PASSWORD,
    part: "test",
    node: "test",
    max: 1,
  });
}

/** PostgreSQL as the Compose file of the older installers makes it: their labels, their volume, no secrets as files. */
async function startOldPostgres(): Promise<void> {
  const { docker, images } = infra();
  const labels = { "com.docker.compose.project": box.project, "com.docker.compose.oneoff": "False" };
  const volume = `${box.project}_pgdata`;
  await docker.createVolume({ Name: volume, Labels: { ...labels, "com.docker.compose.volume": "pgdata" } });
  const container = await docker.createContainer({
    name: box.container("postgres"),
    Image: images.postgres,
    Labels: { ...labels, "com.docker.compose.service": "postgres", "com.docker.compose.config-hash": "0".repeat(64) },
    Env: [`POSTGRES_PASSWORD=${PASSWORD}`, "POSTGRES_DB=pinning_service", "POSTGRES_USER=pinning_user"],
    ExposedPorts: { "5432/tcp": {} },
    HostConfig: {
      Mounts: [{ Type: "volume", Source: volume, Target: "/var/lib/postgresql/data" }],
      PortBindings: { "5432/tcp": [{ HostIp: "127.0.0.1", HostPort: String(box.ports.postgres) }] },
      RestartPolicy: { Name: "unless-stopped" },
    },
  });
  await container.start();
  const pool = connect();
  try {
    await eventually("the old PostgreSQL lets its role in", async () => await pool.query("select 1"));
    await pool.query(await readFile(join(import.meta.dirname, "../fixtures/fleet-017.sql"), "utf8"));
  } finally {
    await pool.end();
  }
}

/** The base directory that the older installers leave: everything in one `.env`, without quotes that Compose needs. */
async function writeOldBase(): Promise<string> {
  const writer = cluster.peer("writer");
  const text = [
    "# fula-master parameters",
    `POSTGRES_PASSWORD='${PASSWORD}'`,
    "SYSTEM_KEY=0123456789abcdef",
    `JWT_SECRET=${"a".repeat(64)}`,
    `SESSION_SECRET=${"b".repeat(64)}`,
    "POSTGRES_DB=pinning_service",
    "POSTGRES_USER=pinning_user",
    "BILLING_IDEMPOTENCY=true",
    "CRON_LEADER_LEASE=true",
    "VAULT_ADDRESS=",
    "WEBUI_PORT=3001",
    "PINNING_API_PORT=6000",
    `IPFS_CLUSTER_API_ADDR=/ip4/127.0.0.1/tcp/${new URL(writer.api).port}`,
    `IPFS_API_ADDR=${writer.kubo.apiAddress}`,
    "",
  ].join("\n");
  await mkdir(box.baseDir, { recursive: true });
  await writeFile(join(box.baseDir, ".env"), text, { mode: 0o600 });
  await writeFile(join(box.baseDir, ".migrations-applied"), "017\n");
  await writeFile(join(box.baseDir, "replication-alerts.log"), "");
  return text;
}

test("a master of the older installers is taken over: its writer, its secrets, its ledger, after a dump", async () => {
  const old = await writeOldBase();
  await startOldPostgres();
  const before = await infra().docker.getContainer(box.container("postgres")).inspect();
  const kept = new Set([
    "postgres.port",
    "server.port",
    "gateway.port",
    "docker.images.postgres",
    "docker.images.nats",
  ]);
  const sets = Object.entries(settingsOf(box.ports)).filter(
    ([key]) => kept.has(key) || key.startsWith("controlPlane."),
  );
  const where = ["--runtime", "docker", "--project", box.project, "--schedule-root", box.scheduleRoot];
  const args = ["join", ...where, "--yes", "--json", ...sets.flatMap(([key, value]) => ["--set", `${key}=${value}`])];
  const { summary } = JSON.parse(expectDone(await box.run(...args), "join").stdout);

  // The dump came first, and can be read.
  expect(summary.lastDump).toMatch(/\/backups\/pre-adopt-\d{8}T\d{6}Z\.dump$/);
  expect((await stat(summary.lastDump)).mode & 0o777).toBe(0o600);
  const dump = await readFile(summary.lastDump);
  expect(dump.subarray(0, 5).toString()).toBe("PGDMP");
  expect(dump.includes(Buffer.from("schema_migrations"))).toBe(false);

  // Its ledger has its rows, in its volume, in a container of ours.
  const after = await infra().docker.getContainer(box.container("postgres")).inspect();
  expect(after.Id).not.toBe(before.Id);
  expect(after.Mounts.find(({ Type }) => Type === "volume")?.Name).toBe(`${box.project}_pgdata`);
  expect(JSON.stringify(after.Config)).not.toContain(PASSWORD);
  const pool = connect();
  try {
    const { rows } = await pool.query(
      "select (select count(*)::int from user_credits) as users, (select count(*)::int from schema_migrations) as migrations",
    );
    expect(rows[0].users).toBeGreaterThan(0);
    expect(rows[0].migrations).toBeGreaterThan(10);
  } finally {
    await pool.end();
  }

  // Every line of the old file stands as it stood; what was lacking came after it.
  const env = await readFile(join(box.baseDir, ".env"), "utf8");
  expect(env.startsWith(old)).toBe(true);
  expect(env).toMatch(/^ENCRYPTION_KEY=/m);
  const { config } = await loadConfig({ globals: { baseDir: box.baseDir }, env: {}, cwd: "/" });
  expect(config).toMatchObject({
    postgres: { mode: "docker" },
    blocks: { mode: "kubo", kuboApi: cluster.peer("writer").kubo.apiAddress },
    cluster: { mode: "rest" },
  });
  expect(JSON.parse(expectDone(await box.run(...args), "join").stdout)).toMatchObject({
    outcome: "already",
    changed: [],
  });
});
