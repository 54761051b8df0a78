import { describe, expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { openContainerSite } from "../../../src/lib/runtime/postgres-site-container.ts";
import { infra } from "../../infra/infra.ts";
import { runContainer, uniqueName } from "../../support/containers.ts";
import { until } from "../../support/until.ts";

const ROOT = "/var/lib/postgresql/data";

async function openServer() {
  const { docker, images } = infra();
  const volume = uniqueName("site");
  const server = await runContainer("site", {
    image: images.postgres,
    volumes: { [volume]: ROOT },
    env: { POSTGRES_PASSWORD: "none", PGDATA: `${ROOT}/pgdata` },
  });
  await server.ready("the server answers", async () => {
    const { exitCode } = await server.exec("pg_isready", "-q", "-h", "127.0.0.1");
    return exitCode === 0;
  });
  const site = await openContainerSite({
    docker,
    container: server.name,
    host: server.address,
    port: 5432,
    clock: systemClock,
    random: systemRandom,
  });
  const helpers = async (): Promise<readonly string[]> => {
    const found = await docker.listContainers({ all: true, filters: { name: [`${server.name}-recovery-`] } });
    return found.map(({ Id }) => Id);
  };
  return {
    site,
    helpers,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await docker.getVolume(volume).remove({ force: true });
    },
  };
}

describe("a server that is a container", () => {
  test("is looked at, stopped, worked at and started again", async () => {
    await using server = await openServer();
    const { site, helpers } = server;
    expect([site.dataDir, site.rootDir, await site.state()]).toEqual([`${ROOT}/pgdata`, ROOT, "running"]);
    await site.reload();
    await site.stop("fast");
    expect(await site.state()).toBe("stopped");
    {
      await using session = await site.open(new AbortController().signal);
      const control = await session.run("pg_controldata", { args: ["-D", site.dataDir] });
      expect(control.stdout).toMatch(/Database cluster state: +shut down\n/);
      const written = await session.run("sh", { args: ["-c", 'cat >"$1"', "sh", `${ROOT}/note`], stdin: "kept" });
      expect(written.exitCode).toBe(0);
      expect(await session.run("sh", { args: ["-c", "cat $1; exit 3", "sh", `${ROOT}/note`] })).toMatchObject({
        exitCode: 3,
        stdout: "kept",
      });
    }
    expect(await helpers()).toEqual([]);
    await site.start();
    await until("the server is back", async () => (await site.state()) === "running");
    await site.stop("immediate");
    expect(await site.state()).toBe("stopped");
  });

  test("leaves no program behind after a time-out, an abort and the end of a session", async () => {
    await using server = await openServer();
    const { site, helpers } = server;
    const session = await site.open(new AbortController().signal);
    const forks = { args: ["-c", "sleep 600 & sleep 600"] };
    const late = await session.run("sh", { ...forks, timeoutMs: 200 });
    expect(late).toMatchObject({ exitCode: null, timedOut: true });
    const abort = new AbortController();
    const aborted = session.run("sh", { ...forks, signal: abort.signal });
    abort.abort(new Error("enough"));
    await expect(aborted).rejects.toThrow("enough");
    // What was killed is in the list until it is reaped.
    await until("neither is left", async () => {
      const { stdout } = await session.run("sh", { args: ["-c", "ps -eo comm= | grep -c sleep"] });
      return stdout.trim() === "0";
    });
    const cut = session.run("sh", forks);
    await Promise.all([session[Symbol.asyncDispose](), expect(cut).rejects.toThrow("was ended")]);
    await until("no helper is left", async () => (await helpers()).length === 0);
  });
});
