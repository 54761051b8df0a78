import { randomUUID } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { loadConfig } from "../../../src/lib/config/load.ts";
import { findFreePort } from "../../support/free-port.ts";
import { composeProject } from "../../support/compose-stack.ts";
import { sendHttp } from "../../support/http.ts";
import { startTestServer } from "../../support/serving.ts";
import { tempDir } from "../../support/temp-dir.ts";
import { tinyCompose } from "../../support/tiny-service.ts";
import { until } from "../../support/until.ts";

test("serve on a storage node needs no ledger, says how its containers are, and restarts one that is frozen", async () => {
  await using project = composeProject(tinyCompose({ name: "kubo" }, { name: "cluster" }));
  await project.apply();
  const baseDir = tempDir();
  const port = await findFreePort();
  mkdirSync(join(baseDir, "state", "locks"), { recursive: true });
  writeFileSync(
    join(baseDir, "fula-master.yaml"),
    `runtime: docker\nnode:\n  role: storage\n  clusterId: ${randomUUID()}\ndocker:\n  project: ${project.name}\nserver:\n  port: ${port}\n`,
  );
  const load = async () => await loadConfig({ globals: { baseDir }, env: {}, cwd: "/" });
  await using running = await startTestServer({ load });
  expect(running.server.endpoints.gateway).toBeNull();
  const ask = async (target: string): Promise<{ readonly status: number; readonly text: string }> => {
    const { status, body } = await sendHttp(port, { method: "GET", target, headers: [["host", "x"]] });
    return { status, text: body.toString() };
  };
  const containers = async (): Promise<{ readonly state: string; readonly error: string | null }> => {
    const { checks } = JSON.parse((await ask("/readyz")).text);
    return checks.find(({ name }: { readonly name: string }) => name === "containers");
  };
  await until("its containers were looked at", async () => (await containers()).state === "ok");
  expect((await ask("/readyz")).status).toBe(200);
  expect(await containers()).toMatchObject({ state: "ok", details: { kubo: "healthy", cluster: "healthy" } });

  const { containerId } = await project.containerOf("kubo");
  const { State } = await project.docker.getContainer(containerId).inspect();
  process.kill(State.Pid, "SIGSTOP");
  await until("readiness says it", async () => (await containers()).error?.includes("kubo is unhealthy"));
  expect((await ask("/readyz")).status).toBe(200);
  expect((await ask("/metrics")).text).toMatch(/^fula_container_up\{service="kubo"\} 0$/m);
  await until("it was restarted", async () =>
    /^fula_container_restarts_total\{service="kubo"\} 1$/m.test((await ask("/metrics")).text),
  );
  await until("it is well", async () => (await containers()).state === "ok");
  expect((await ask("/metrics")).text).toMatch(/^fula_container_up\{service="kubo"\} 1$/m);
});
