import { readdirSync, readFileSync } from "node:fs";
import { hostname } from "node:os";
import { inspect } from "node:util";
import { describe, expect, test } from "vitest";
import { describeSource, loadConfig, readConfig } from "../../../src/lib/config/load.ts";
import { SECRETS, SETTINGS, type SettingKey, valueOf } from "../../../src/lib/config/schema.ts";
import { boxWith } from "../../support/config.ts";

const PEER_ID = `12D3KooW${"x".repeat(44)}`;

describe("where a value comes from", () => {
  const yaml = "server:\n  port: 4\nsweep:\n  replMin: 4\n";

  test.each([
    ["a flag beats all", { env: "FULA_MASTER_SERVER_PORT=3\n", yaml, variable: "2", flag: "1" }, 1, "--port"],
    [
      "the environment beats the files",
      { env: "FULA_MASTER_SERVER_PORT=3\n", yaml, variable: "2" },
      2,
      "environment FULA_MASTER_SERVER_PORT",
    ],
    [
      "an empty variable counts as not set",
      { env: "FULA_MASTER_SERVER_PORT=3\n", yaml, variable: "" },
      3,
      "<base>/.env:1 FULA_MASTER_SERVER_PORT",
    ],
    [
      ".env beats the settings file",
      { env: "\nFULA_MASTER_SERVER_PORT=3\n", yaml },
      3,
      "<base>/.env:2 FULA_MASTER_SERVER_PORT",
    ],
    ["the settings file beats the default", { yaml }, 4, "<base>/fula-master.yaml:2"],
    ["the default", {}, 9010, "default"],
  ])("%s", async (_, given: { env?: string; yaml?: string; variable?: string; flag?: string }, port, from) => {
    const box = boxWith(given, { FULA_MASTER_SERVER_PORT: given.variable });
    const loaded = await loadConfig(box, { "server.port": { flag: "--port", value: given.flag } });
    expect(loaded.config.server.port).toBe(port);
    expect(describeSource(loaded.sources["server.port"]).replace(box.baseDir, "<base>")).toBe(from);
  });

  test("FULA_MASTER_ names go before the names of the fleet, and a difference is told", async () => {
    const { config, warnings } = await loadConfig(boxWith({}, { REPL_MIN: "3", FULA_MASTER_SWEEP_REPL_MIN: "4" }));
    expect(config.sweep.replMin).toBe(4);
    expect(warnings.map(({ message }) => message)).toEqual([expect.stringContaining("sweep.replMin is given twice")]);
  });

  test("a value of .env that hides another one of the settings file is told", async () => {
    const { config, warnings } = await loadConfig(boxWith({ env: "REPL_MIN=3\n", yaml }));
    expect(config.sweep.replMin).toBe(3);
    expect(warnings).toHaveLength(1);
  });

  test("every setting can be given by its FULA_MASTER_ name, and by each name of the fleet", async () => {
    const texts: Partial<Record<SettingKey, string>> = {
      runtime: "external",
      "node.clusterId": "0b9d8d1e-6f53-4c1a-9d3e-0a8f4f8e2a11",
      "postgres.mode": "external",
      "blocks.mode": "kubo",
      "cluster.mode": "rest",
      "postgres.binDir": "/usr/lib/postgresql/15/bin",
      "postgres.runAs": "postgres",
      "postgres.tls": "require",
      "postgres.announce": "10.0.0.5:5433",
      "postgres.listen": "10.0.0.5",
      "standby.server": "embedded",
      "standby.sync": "strict",
      "standby.degradeAfter": "4s",
      "standby.slotMax": "1GiB",
      "standby.maxLag": "8MiB",
      "backup.dir": "ledger-backups",
      "backup.archive": "true",
      "backup.schedule": "15 3 * * *",
      "backup.keep": "3",
      "backup.maxAge": "50h",
      "failover.fenceCommand": "ssh old systemctl stop fula-master",
      "failover.flipCommand": "move-dns",
      "failover.hookTimeout": "30s",
      "server.host": "::1",
      "server.logLevel": "debug",
      "gateway.host": "0.0.0.0",
      "snapshot.trustedKeys": `ed25519:${"ab".repeat(32)}, ed25519:${"cd".repeat(32)}`,
      "billing.vaultAddress": `0x${"Ab".repeat(20)}`,
      "blocks.kuboApi": "http://kubo:5001",
      "cluster.api": "/dns4/cluster/tcp/9094",
      "snapshot.schedule": "@daily",
      "sweep.schedule": "5 * * * *",
      "snapshot.maxAge": "30h",
      "server.shutdownTimeout": "5s",
      "billing.idempotency": "false",
      "billing.cronLeaderLease": "false",
      "buckets.cas": "false",
      "buckets.casExhausted": "503",
      "buckets.graceTime": "2h",
      "buckets.collectEvery": "30s",
      "buckets.historyAge": "30d",
      "buckets.readTimeout": "500ms",
      "buckets.staleReads": "10m",
      "buckets.nodeCacheBytes": "16MiB",
      "identity.eip712": "v2",
      "identity.eip712ChainIds": "1,8453",
      "gateway.remoteCidPut": "true",
      "gateway.multipartExpiry": "2h",
      "gateway.corsOrigins": "https://app.example.org,capacitor://localhost",
      "gateway.trustless": "false",
      "gateway.rateLimitRps": "500",
      "gateway.rateLimitBurst": "5000",
      "gateway.etag": "md5",
      "gateway.quota": "open",
      "billing.fulaPerGbMonth": "2.750000000000000001",
      "gateway.maxObjectBytes": "1GiB",
      "sweep.alertLog": "alerts.log",
      "node.name": "m-2",
      "gateway.region": "eu-1",
      "postgres.host": "db",
      "postgres.database": "d",
      "postgres.user": "u",
      "billing.enabled": "on",
      "billing.basis": "current",
      "billing.whileSuspended": "pause",
      "billing.referralBonuses": "false",
      "billing.leaseTtl": "20s",
      "billing.deductionIntervalMs": "7777",
      "billing.scannerIntervalMs": "7777",
      "node.role": "storage",
      "node.announce": "203.0.113.7",
      "kubo.reach": "federation",
      "kubo.private": "true",
      "controlPlane.mode": "nats",
      "controlPlane.servers": "tls://nats-1.example.org:4222",
      "controlPlane.caFile": "ca.pem",
      "controlPlane.nkeyFile": "user.nk",
      "controlPlane.systemNkeyFile": "system.nk",
      "controlPlane.prefix": "POOLS",
      "controlPlane.routes": "master-1.example.org:6222",
      "controlPlane.witness": "true",
      "controlPlane.joining": "true",
      "controlPlane.timeout": "3s",
      "controlPlane.maxAge": "9s",
      "controlPlane.bootstrapTimeout": "90s",
      "controlPlane.replicas": "3",
      "controlPlane.debug": "true",
      "kubo.peers": `/ip4/10.0.0.7/tcp/4001/p2p/${PEER_ID}`,
      "cluster.trustedPeers": PEER_ID,
      "cluster.bootstrap": `/dns4/master-1/tcp/9096/p2p/${PEER_ID}`,
      "docker.project": "fula-test",
      "docker.images.postgres": "postgres:16.4",
      "docker.images.kubo": "registry.example.org:5000/ipfs/kubo:v1",
      "docker.images.cluster": `ipfs/ipfs-cluster@sha256:${"0f".repeat(32)}`,
      "docker.images.nats": "nats:2.12",
      "docker.images.gateway": "gateway",
      "docker.memory.postgres": "512MiB",
      "docker.memory.kubo": "512MiB",
      "docker.memory.cluster": "512MiB",
      "docker.memory.nats": "512MiB",
      "docker.memory.gateway": "512MiB",
      "gateway.mode": "container",
      "api.host": "127.0.0.2",
      "api.domain": "cloud.example.org:8443",
      "api.admins": `alice@example.org,${"0f".repeat(32)}`,
      "api.trustedProxies": "10.0.0.0/8,::1",
      "identity.denyListRefresh": "500ms",
      "identity.jwtWithoutExpiry": "false",
      "gateway.jwtAccessKeys": "true",
      "identity.denyListMaxAge": "10s",
      "ingest.masters": "https://master-1.example.org,http://127.0.0.1:6000/api",
      "ingest.mode": "on",
      "ingest.host": "0.0.0.0",
      "ingest.tlsCert": "tls/cert.pem",
      "ingest.tlsKey": "tls/key.pem",
      "ingest.insecure": "true",
      "ingest.quota": "open",
      "ingest.maxBlockBytes": "1MiB",
      "ingest.leaseTime": "2h",
      "pinning.workers": "2",
      "pinning.giveUpAfter": "3d",
      "billing.baseRpcUrls": "https://rpc-1.example,https://rpc-2.example/key",
      chains: '{"base":{"rpcUrls":["https://rpc-1.example/key"],"confirmations":20}}',
    };
    for (const entry of SETTINGS) {
      const text = texts[entry.key] ?? "77";
      for (const name of entry.envNames) {
        const { config, sources } = await loadConfig(boxWith({}, { [name]: text }));
        expect(sources[entry.key], name).toEqual({ kind: "environment", name });
        const value = valueOf(config, entry);
        expect(value, name).not.toEqual(undefined);
        const again = await loadConfig(boxWith({}, { [name]: entry.setting.toText(value) }));
        expect(valueOf(again.config, entry), `${name} there and back`).toEqual(value);
      }
    }
  });

  test("the names that the fleet has today all work, with its defaults", async () => {
    const fleet = {
      POSTGRES_HOST: "10.0.0.7",
      POSTGRES_PORT: "5433",
      POSTGRES_DB: "ledger",
      POSTGRES_USER: "fula",
      POSTGRES_PASSWORD: "pa$$ #w'd",
      BILLING_IDEMPOTENCY: "true",
      CRON_LEADER_LEASE: "true",
      FULA_BUCKET_ROOT_CAS: "true",
      FULA_EIP712_AUTH: "true",
      FULA_REMOTE_CID_PUT: "true",
      REPL_MIN: "3",
      DEDUCTION_INTERVAL_MS: "15000",
      SCANNER_INTERVAL_MS: "20000",
      IPFS_API_ADDR: "/ip4/10.0.0.8/tcp/5001",
      IPFS_CLUSTER_API_ADDR: "/ip4/10.0.0.8/tcp/9094",
      VAULT_ADDRESS: `0x${"1".repeat(40)}`,
      FREE_TIER_BYTES: "1048576",
      FULA_PER_GB_MONTH: "8",
    };
    const { config, secrets } = await loadConfig(boxWith({}, fleet));
    expect(config).toMatchObject({
      postgres: { mode: "external", host: "10.0.0.7", port: 5433, database: "ledger", user: "fula" },
      blocks: { mode: "kubo", kuboApi: "/ip4/10.0.0.8/tcp/5001" },
      cluster: { mode: "rest", api: "/ip4/10.0.0.8/tcp/9094" },
      sweep: { replMin: 3 },
      billing: {
        idempotency: true,
        cronLeaderLease: true,
        deductionIntervalMs: 15_000,
        scannerIntervalMs: 20_000,
        freeTierBytes: 1_048_576,
        fulaPerGbMonth: "8",
        vaultAddress: `0x${"1".repeat(40)}`,
      },
      buckets: { cas: true },
      identity: { eip712: "all" },
      gateway: { remoteCidPut: true },
    });
    expect(secrets.postgresPassword?.reveal()).toBe("pa$$ #w'd");
  });

  test.each([
    ["true", true, 0],
    ["false", false, 0],
    ["TRUE", false, 1],
    ["1", false, 1],
    [" true", false, 1],
    ["yes", false, 1],
  ])("BILLING_IDEMPOTENCY=%j is %s, by the fleet's rule of exactly 'true'", async (text, expected, told) => {
    const { config, warnings } = await loadConfig(boxWith({}, { BILLING_IDEMPOTENCY: text }));
    expect(config.billing.idempotency).toBe(expected);
    expect(warnings).toHaveLength(told);
  });

  test.each([
    ["true", "all"],
    ["false", "off"],
    ["v2", "off"],
  ])(
    "FULA_EIP712_AUTH=%s stands for identity.eip712 %s: the fleet's name knows on and off alone",
    async (text, expected) => {
      const { config } = await loadConfig(boxWith({}, { FULA_EIP712_AUTH: text }));
      expect(config.identity.eip712).toBe(expected);
    },
  );

  test("our own name for the same flag takes nothing but true and false", async () => {
    await expect(loadConfig(boxWith({}, { FULA_MASTER_BILLING_IDEMPOTENCY: "yes" }))).rejects.toMatchObject({
      code: "FULA_CONFIG_INVALID",
    });
  });
});

describe("defaults", () => {
  test("an empty box is an embedded master on loopback", async () => {
    const { config, secrets, warnings } = await loadConfig(boxWith({}));
    expect(config).toMatchObject({
      runtime: "auto",
      node: { name: hostname(), clusterId: null },
      postgres: { mode: "embedded", port: 0 },
      blocks: { mode: "local" },
      cluster: { mode: "local" },
      server: { host: "127.0.0.1", port: 9010, shutdownTimeout: 30_000 },
      gateway: { host: "127.0.0.1", port: 9000 },
      snapshot: { maxAge: 26 * 3_600_000, keep: { last: 28, daily: 14, weekly: 8, monthly: 12 } },
      billing: {
        idempotency: true,
        cronLeaderLease: true,
        freeTierBytes: 524_288_000,
        fulaPerGbMonth: "3",
        vaultAddress: null,
      },
    });
    expect(Object.values(secrets)).toEqual(SECRETS.map(() => null));
    expect(warnings).toEqual([]);
  });

  test.each([
    ["runtime: external\n", {}, ["external", "kubo", "rest", 5432]],
    ["runtime: docker\n", {}, ["docker", "docker", "docker", 5432]],
    ["runtime: docker\n", { IPFS_CLUSTER_API_ADDR: "/ip4/10.0.0.7/tcp/9094" }, ["docker", "docker", "rest", 5432]],
    ["runtime: embedded\n", { POSTGRES_HOST: "db" }, ["embedded", "local", "local", 0]],
    ["runtime: auto\n", { POSTGRES_HOST: "db" }, ["external", "local", "local", 5432]],
    ["postgres:\n  mode: external\n", {}, ["external", "local", "local", 5432]],
  ])("%j with %j picks the modes %j", async (yaml, environment, expected) => {
    const { postgres, blocks, cluster } = (await loadConfig(boxWith({ yaml }, environment))).config;
    expect([postgres.mode, blocks.mode, cluster.mode, postgres.port]).toEqual(expected);
  });

  test("the alert log lies in the base directory, where the fleet has it", async () => {
    const box = boxWith({});
    expect((await loadConfig(box)).config.sweep.alertLog).toBe(`${box.baseDir}/replication-alerts.log`);
    const moved = boxWith({ yaml: "sweep:\n  alertLog: logs/a.log\n" });
    expect((await loadConfig(moved)).config.sweep.alertLog).toBe(`${moved.baseDir}/logs/a.log`);
  });

  test("a decimal number keeps every digit as it is written", async () => {
    const { config } = await loadConfig(boxWith({ yaml: "billing:\n  fulaPerGbMonth: 3.10\n" }));
    expect(config.billing.fulaPerGbMonth).toBe("3.10");
  });
});

describe("refused settings files", () => {
  test.each([
    [
      "an unknown key",
      "server:\n  prot: 1\n",
      "FULA_CONFIG_UNKNOWN_KEY",
      /:2:3 sets server\.prot/,
      /did you mean server\.port\?/,
    ],
    [
      "an unknown section",
      "severs:\n  port: 1\n",
      "FULA_CONFIG_UNKNOWN_KEY",
      /:1:1 sets severs/,
      /did you mean server/,
    ],
    [
      "a key in the wrong section",
      "replMin: 1\n",
      "FULA_CONFIG_UNKNOWN_KEY",
      /:1:1 sets replMin/,
      /did you mean sweep\.replMin\?/,
    ],
    ["a key of an object's prototype", "constructor: 1\n", "FULA_CONFIG_UNKNOWN_KEY", /sets constructor/, /./],
    [
      "a secret",
      "postgres:\n  password: hunter22\n",
      "FULA_CONFIG_UNKNOWN_KEY",
      /secrets do not belong/,
      /\.env file as POSTGRES_PASSWORD/,
    ],
    [
      "a secret by its environment name",
      "JWT_SECRET: hunter22\n",
      "FULA_CONFIG_UNKNOWN_KEY",
      /secrets do not belong/,
      /as JWT_SECRET/,
    ],
    [
      "text for a number",
      "server:\n  port: nine\n",
      "FULA_CONFIG_INVALID",
      /server\.port from .*fula-master\.yaml:2 is "nine" \(text\); expected a whole number from 0 to 65535/,
      /9010/,
    ],
    ["a quoted number", 'server:\n  port: "9010"\n', "FULA_CONFIG_INVALID", /is "9010" \(text\)/, /./],
    ["a number out of range", "server:\n  port: 70000\n", "FULA_CONFIG_INVALID", /is 70000 \(number\)/, /./],
    ["a number with a fraction", "sweep:\n  replMin: 1.5\n", "FULA_CONFIG_INVALID", /is 1\.5/, /./],
    [
      "a word for a truth value",
      "gateway:\n  remoteCidPut: yes\n",
      "FULA_CONFIG_INVALID",
      /is "yes" \(text\); expected true or false/,
      /./,
    ],
    [
      "a duration without a unit",
      "snapshot:\n  maxAge: 26\n",
      "FULA_CONFIG_INVALID",
      /is 26 \(number\); expected a duration/,
      /26h/,
    ],
    ["a schedule that never runs", 'snapshot:\n  schedule: "0 0 31 2 *"\n', "FULA_CONFIG_INVALID", /no month/, /./],
    [
      "an address that is none",
      "blocks:\n  kuboApi: 127.0.0.1:5001\n",
      "FULA_CONFIG_INVALID",
      /expected an address such as/,
      /./,
    ],
    ["a host that is none", "gateway:\n  host: everywhere\n", "FULA_CONFIG_INVALID", /expected an IP address/, /./],
    [
      "a key that is none",
      "snapshot:\n  trustedKeys: [ed25519:abc]\n",
      "FULA_CONFIG_INVALID",
      /is a list; expected a list of ed25519/,
      /./,
    ],
    [
      "a list for a section",
      "server: [1]\n",
      "FULA_CONFIG_INVALID",
      /server is a list; expected a mapping with host, port/,
      /./,
    ],
    ["a section that is cut off", "server:\n", "FULA_CONFIG_INVALID", /:1:1 server is empty; expected a mapping/, /./],
    ["a value that is cut off", "server:\n  port:\n", "FULA_CONFIG_INVALID", /server\.port .*:2 is empty/, /./],
    ["a key that is cut off", "server:\n  po", "FULA_CONFIG_INVALID", /server is "po" \(text\)/, /./],
    ["a quote that stays open", 'node:\n  name: "mas', "FULA_CONFIG_SYNTAX", /:2:\d+ is not valid YAML/, /cut off/],
    [
      "a bracket that stays open",
      "snapshot:\n  trustedKeys: [",
      "FULA_CONFIG_SYNTAX",
      /:\d:\d+ is not valid YAML/,
      /cut off/,
    ],
    ["tabs", "server:\n\tport: 1\n", "FULA_CONFIG_SYNTAX", /:2:1 is not valid YAML/, /spaces/],
    ["a key twice", "server:\n  port: 1\n  port: 2\n", "FULA_CONFIG_SYNTAX", /:3:3 is not valid YAML/, /remove one/],
    [
      "a section twice",
      "server:\n  port: 1\nserver:\n  port: 2\n",
      "FULA_CONFIG_SYNTAX",
      /:3:1 is not valid YAML/,
      /remove one/,
    ],
    ["two documents", "runtime: auto\n---\nruntime: auto\n", "FULA_CONFIG_SYNTAX", /is not valid YAML/, /one document/],
    ["a byte order mark", "\u{feff}runtime: auto\n", "FULA_CONFIG_SYNTAX", /:1:1 begins with a byte order mark/, /sed/],
    ["nothing", "", "FULA_CONFIG_SYNTAX", /:1:1 is empty/, /remove it/],
    ["nothing but line breaks", "\n \n", "FULA_CONFIG_SYNTAX", /:1:1 is empty/, /remove it/],
    ["NUL bytes of a lost block", "runtime: auto\n\0\0\0", "FULA_CONFIG_SYNTAX", /:2:1 contains NUL/, /copy/],
    ["a lone word", "hello\n", "FULA_CONFIG_SYNTAX", /:1:1 holds "hello"/, /./],
    ["a list", "- a\n", "FULA_CONFIG_SYNTAX", /:1:1 holds a list/, /./],
    ["an alias", "runtime: *gone\n", "FULA_CONFIG_SYNTAX", /:1:10 uses the alias \*gone/, /write the value out/],
  ])("%s", async (_, yaml, code, message, hint) => {
    const box = boxWith({ yaml });
    await expect(loadConfig(box)).rejects.toMatchObject({
      code,
      kind: "usage",
      message: expect.stringMatching(message),
      hint: expect.stringMatching(hint),
    });
    expect(readFileSync(box.configFile, "utf8")).toBe(yaml);
    expect(readdirSync(box.baseDir)).toEqual(["fula-master.yaml"]);
  });

  test("bytes that are not UTF-8 are named with their place", async () => {
    const box = boxWith({ yaml: "runtime: auto\n" });
    const { writeFileSync } = await import("node:fs");
    writeFileSync(box.configFile, Buffer.from([0x72, 0x75, 0x6e, 0x3a, 0x20, 0xff, 0xfe]));
    await expect(loadConfig(box)).rejects.toMatchObject({
      message: expect.stringMatching(/:1:6 contains bytes that are not UTF-8/),
    });
  });

  test("comments alone are a settings file that leaves everything at its default", async () => {
    await expect(loadConfig(boxWith({ yaml: "# nothing yet\n" }))).resolves.toMatchObject({
      config: { runtime: "auto" },
    });
  });

  test("every truncation of a settings file is read as a part of it or refused, never as something else", async () => {
    const yaml =
      'node:\n  name: alpha-7\nserver:\n  host: "::1"\n  port: 9911\nsnapshot:\n  maxAge: 30h\n  keep:\n    last: 9\n';
    for (let length = 0; length < yaml.length; length += 1) {
      const { config, problems } = await readConfig(boxWith({ yaml: yaml.slice(0, length) }));
      if (problems.length > 0) continue;
      expect(["alpha-7".slice(0, config.node.name.length), hostname()]).toContain(config.node.name);
      expect(["127.0.0.1", "::1"]).toContain(config.server.host);
      // A number may lose its last digits unseen; `config check` tells that the last line has no end.
      expect("9911".startsWith(String(config.server.port)) || config.server.port === 9010).toBe(true);
    }
  });

  test("all problems are told at once, the first in words and the rest in the details", async () => {
    const box = boxWith(
      { yaml: "server:\n  prot: 1\n  host: x\nsweep:\n  replMin: a\n" },
      { FULA_MASTER_SWEEP_REPL_MNI: "1" },
    );
    await expect(loadConfig(box)).rejects.toMatchObject({
      message: expect.stringContaining("(and 3 more problems)"),
      hint: expect.stringContaining("config check"),
      details: { problems: expect.objectContaining({ length: 4 }) },
    });
  });

  test("a broken line is an error even where the environment stands above it", async () => {
    await expect(
      loadConfig(boxWith({ yaml: "server:\n  port: x\n" }, { FULA_MASTER_SERVER_PORT: "1" })),
    ).rejects.toMatchObject({ code: "FULA_CONFIG_INVALID" });
  });

  test("a settings file that is named but not there is an error, the default one is not", async () => {
    const box = boxWith({});
    await expect(loadConfig({ ...box, globals: { ...box.globals, config: "gone.yaml" } })).rejects.toMatchObject({
      code: "FULA_CONFIG_NOT_FOUND",
    });
    await expect(loadConfig({ ...box, env: { FULA_MASTER_CONFIG: "/gone.yaml" } })).rejects.toMatchObject({
      code: "FULA_CONFIG_NOT_FOUND",
    });
    await expect(loadConfig(box)).resolves.toBeDefined();
  });

  test("a directory in place of the settings file is an error, not a bug", async () => {
    const box = boxWith({});
    await expect(loadConfig({ ...box, globals: { ...box.globals, config: box.baseDir } })).rejects.toMatchObject({
      code: "FULA_CONFIG_READ",
    });
  });
});

describe("environment and .env", () => {
  test.each([
    [{ FULA_MASTER_SERVRE_PORT: "1" }, "FULA_MASTER_SERVER_PORT"],
    [{ FULA_MASTER_POSTGRES_PASSWORD: "x" }, "POSTGRES_PASSWORD"],
  ])("an unknown name %j is refused with the nearest one", async (environment, meant) => {
    await expect(loadConfig(boxWith({}, environment))).rejects.toMatchObject({
      code: "FULA_CONFIG_UNKNOWN_KEY",
      hint: `did you mean ${meant}?`,
    });
  });

  test("an unknown name of ours in .env is refused with its line, unknown names of others are not ours to judge", async () => {
    await expect(loadConfig(boxWith({ env: "OTHER=1\nFULA_MASTER_X=1\n" }))).rejects.toMatchObject({
      message: expect.stringContaining(".env:2 FULA_MASTER_X"),
    });
    await expect(loadConfig(boxWith({ env: "OTHER=1\n" }, { OTHER: "2" }))).resolves.toBeDefined();
  });

  test("a quote that stays open in .env is an error that names the line", async () => {
    await expect(loadConfig(boxWith({ env: "A=1\nJWT_SECRET='x\n" }))).rejects.toMatchObject({
      code: "FULA_ENV_FILE_SYNTAX",
      message: expect.stringContaining("Line 2"),
    });
  });

  test("a line of .env that was meant as a secret is an error, any other odd line a remark", async () => {
    await expect(loadConfig(boxWith({ env: "JWT_SECRET: abc\n" }))).rejects.toMatchObject({
      code: "FULA_ENV_FILE_SYNTAX",
    });
    expect((await loadConfig(boxWith({ env: "just text\n" }))).warnings).toHaveLength(1);
  });

  test("a secret of the environment goes before the one of .env", async () => {
    const box = boxWith({ env: "JWT_SECRET=file\nSYSTEM_KEY='from file'\n" }, { JWT_SECRET: "environment" });
    const { secrets, sources } = await loadConfig(box);
    expect(secrets.jwtSecret?.reveal()).toBe("environment");
    expect(secrets.systemKey?.reveal()).toBe("from file");
    expect(sources.systemKey).toEqual({ kind: "env-file", name: "SYSTEM_KEY", path: box.envFile, line: 2 });
  });

  test("no secret is in what is loaded, however it is printed", async () => {
    const secret = "correct horse battery";
    const loaded = await readConfig(boxWith({ env: `JWT_SECRET='${secret}'\nPOSTGRES_PASSWORD='${secret}'\n` }));
    const { envFile, ...rest } = loaded;
    expect(envFile?.assignments).toHaveLength(2);
    expect(JSON.stringify(rest)).not.toContain(secret);
    expect(inspect(rest, { depth: 10 })).not.toContain(secret);
  });
});
