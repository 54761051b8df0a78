import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { infra } from "../../infra/infra.ts";
import { setUpInfra } from "../../infra/setup.ts";
import { runContainer, runToEnd, startNetwork, type TestContainer, uniqueName } from "../../support/containers.ts";

const dir = mkdtempSync(join(tmpdir(), "fula-images-"));
afterAll(() => {
  rmSync(dir, { recursive: true, force: true });
});

const PASSWORD = "p'a\"s$s \\word";
const ENV = {
  POSTGRES_USER: "pinning_user",
  POSTGRES_DB: "pinning_service",
  POSTGRES_PASSWORD_FILE: "/run/secrets/postgres_password",
  POSTGRES_INITDB_ARGS: "--no-sync --data-checksums",
};

function secretFile(password = PASSWORD): Readonly<Record<string, string>> {
  const path = join(dir, uniqueName("secret"));
  writeFileSync(path, password, { mode: 0o400 });
  return { [path]: `${ENV.POSTGRES_PASSWORD_FILE}:ro` };
}

/** The one line that a query answers, over TCP and with the password, as a client elsewhere gets it. */
async function query(server: TestContainer, sql: string, password = PASSWORD): Promise<string> {
  const url = `host=${server.address} user=${ENV.POSTGRES_USER} dbname=${ENV.POSTGRES_DB}`;
  const { exitCode, stdout, stderr } = await server.exec("env", `PGPASSWORD=${password}`, "psql", url, "-Atc", sql);
  return exitCode === 0 ? stdout.trim() : stderr.trim();
}

async function answers(server: TestContainer, password = PASSWORD): Promise<void> {
  await server.ready("answers a query", async () => (await query(server, "select 1", password)) === "1");
}

test("a set-up that finds everything makes nothing", async () => {
  // The first of the two makes what was edited since the drills began.
  await setUpInfra(() => {});
  expect(await setUpInfra(() => {})).toEqual({ engine: "answers", daemons: [], images: [] });
});

test("every image that a template can be pointed at is there and runs", async () => {
  const { docker, images } = infra();
  const { postgres, kubo, cluster, nats, node, master } = images;
  const versionOf = async (image: string, entrypoint: readonly string[]): Promise<string> => {
    const { exitCode, stdout, stderr } = await runToEnd(docker, uniqueName("version"), { image, entrypoint });
    expect(exitCode, stderr).toBe(0);
    return stdout.trim();
  };
  expect(await versionOf(postgres, ["postgres", "--version"])).toMatch(/^postgres \(PostgreSQL\) 15\./);
  expect(await versionOf(kubo, ["ipfs", "version", "--number"])).toBe("0.42.0");
  expect(await versionOf(cluster, ["ipfs-cluster-ctl", "--version"])).toBe("ipfs-cluster-ctl version 1.1.6");
  expect(await versionOf(nats, ["nats-server", "--version"])).toBe("nats-server: v2.15.2");
  expect(await versionOf(node, ["node", "--version"])).toMatch(/^v24\./);
  expect(await versionOf(master, ["fula-master", "--version"])).toMatch(/^\d+\.\d+\.\d+/);
});

test("the PostgreSQL image makes role and database from the environment and a secret file, and asks for the password", async () => {
  await using network = await startNetwork("postgres");
  const { images } = infra();
  const wish = { image: images.postgres, networks: [network.name], env: ENV, volumes: secretFile() };
  await using server = await runContainer("postgres", wish);
  await answers(server);
  expect(await query(server, "select current_user || '@' || current_database()")).toBe("pinning_user@pinning_service");
  expect(await query(server, "show data_checksums")).toBe("on");
  expect(await query(server, "select 1", "wrong")).toContain("password authentication failed");
  // The server runs as an account that has no rights, and the password is in no environment that it has.
  const asServer = await server.exec(
    "setpriv",
    "--reuid=postgres",
    "--regid=postgres",
    "--clear-groups",
    "cat",
    "/proc/1/environ",
  );
  expect(asServer.exitCode).toBe(0);
  expect(asServer.stdout).toContain("PGDATA=");
  expect(asServer.stdout).not.toContain(PASSWORD);
});

test("the PostgreSQL image leaves a volume with a database as it is, whatever the environment says", async () => {
  const { docker, images } = infra();
  const volume = uniqueName("pgdata");
  const data = { [volume]: "/var/lib/postgresql/data" };
  try {
    {
      await using first = await runContainer("postgres", {
        image: images.postgres,
        env: ENV,
        volumes: { ...data, ...secretFile() },
      });
      await answers(first);
      expect(await query(first, "create table kept as select 42 as answer")).toBe("SELECT 1");
      await first.container.stop({ t: 120 });
      // Clients that stay connected do not hold a fast shutdown up, and the files are whole.
      expect(await first.log()).toContain("received fast shutdown request");
      expect(await first.log()).toContain("database system is shut down");
    }
    await using second = await runContainer("postgres", {
      image: images.postgres,
      env: { ...ENV, POSTGRES_DB: "another" },
      volumes: { ...data, ...secretFile("another password") },
    });
    await answers(second);
    expect(await query(second, "select answer from kept")).toBe("42");
  } finally {
    await docker.getVolume(volume).remove({ force: true });
  }
});

test("the PostgreSQL image refuses an empty volume without a password", async () => {
  const { docker, images } = infra();
  const { exitCode, stderr } = await runToEnd(docker, uniqueName("postgres"), {
    image: images.postgres,
    env: { POSTGRES_USER: "pinning_user" },
  });
  expect(exitCode).toBe(1);
  expect(stderr).toContain("neither POSTGRES_PASSWORD nor POSTGRES_PASSWORD_FILE is set");
});

test("the image of fula-master runs as a user without rights, and is unhealthy while nothing serves", async () => {
  const { images } = infra();
  await using box = await runContainer("master", { image: images.master, entrypoint: ["sleep", "300"] });
  expect((await box.exec("id", "-u")).stdout.trim()).toBe("1000");
  const { Config } = await box.container.inspect();
  expect(Config.Healthcheck?.Test?.[0]).toBe("CMD");
  const check = await box.exec(...(Config.Healthcheck?.Test?.slice(1) ?? []));
  expect(check).toMatchObject({ exitCode: 1, stdout: "nobody answers on 127.0.0.1 port 9010\n" });
  const path = await box.exec("fula-master", "config", "path");
  expect(path.stdout).toContain("/var/lib/fula-master");
});
