import { describe, expect, test } from "vitest";
import { type ComposeService, parseCompose } from "../../../src/lib/runtime/compose-file.ts";
import { assertNothingForeign } from "../../../src/lib/runtime/compose-foreign.ts";
import { decideAction, type ServicePlan } from "../../../src/lib/runtime/compose-plan.ts";
import { inUpgradeOrder } from "../../../src/lib/runtime/compose-upgrade.ts";
import { askingEngine, explainEngineError } from "../../../src/lib/runtime/docker-errors.ts";
import type { ServiceHealth } from "../../../src/lib/runtime/project-health.ts";
import { parseImages } from "../../../src/lib/stack/upgrade-plan.ts";
import { makeServiceHealth } from "../../support/service-health.ts";

const WELL = makeServiceHealth({ startedAt: "2026-11-21T00:00:00Z" });

function service(name = "kubo"): ComposeService {
  const text = `services:\n  ${name}:\n    image: kubo:1\n    container_name: ipfs_host\n    restart: always\n`;
  const [found] = parseCompose(text, { project: "p", file: "/base/compose.yaml" }).services;
  if (found === undefined) throw new Error("no service");
  return found;
}

function decide(
  health: Partial<ServiceHealth> | null,
  more: { readonly hash?: string; readonly fresh?: boolean; readonly heldBack?: boolean } = {},
) {
  const { action, why } = decideAction({
    service: service(),
    configHash: "now",
    current: health === null ? null : { health: { ...WELL, ...health }, configHash: more.hash ?? "now" },
    imageId: "sha256:2",
    wantsFreshImage: more.fresh === true,
    isHeldBack: more.heldBack === true,
  });
  return `${action}: ${why}`;
}

describe("the plan of a service", () => {
  test("says what is to be done, and why", () => {
    expect(decide(null)).toBe("create: there is none yet");
    expect(decide({})).toBe("keep: it runs as it should");
    expect(decide({ health: "none" })).toBe("keep: it runs as it should");
    expect(decide({}, { hash: "before" })).toBe("recreate: its settings have changed");
    expect(decide({ image: "kubo:0" }, { hash: "before" })).toBe("recreate: its image is kubo:0, and kubo:1 is wanted");
    expect(decide({}, { fresh: true })).toBe("recreate: kubo:1 names another image by now");
    expect(decide({ health: "starting" })).toBe("start: it is not healthy yet");
    expect(decide({ health: "unhealthy", healthOutput: "no answer" })).toBe("start: it is unhealthy: no answer");
    expect(decide({ state: "exited", exitCode: 137 })).toBe("start: it has ended with exit code 137");
    expect(decide({ state: "created" })).toBe("start: it is created");
    expect(decide({ isWanted: false })).toBe("start: it would not be started again: a stop or an update was cut off");
    expect(decide({ containerName: "c1_ipfs_host" })).toBe("start: it is named c1_ipfs_host: an update was cut off");
  });

  test("starts nothing that somebody else decides about, but brings it to its settings", () => {
    expect(decide({ state: "exited" }, { heldBack: true })).toBe("keep: serve starts it when it may run");
    expect(decide({ state: "created" }, { heldBack: true })).toBe("keep: serve starts it when it may run");
    expect(decide({ state: "exited" }, { heldBack: true, hash: "before" })).toBe("recreate: its settings have changed");
    expect(decide({ health: "unhealthy", healthOutput: "no answer" }, { heldBack: true })).toMatch(/^start/);
  });
});

describe("what is foreign", () => {
  test("alone is one sentence, several are a list, each with what can be done, and it is always a refusal", () => {
    const thing = { kind: "volume", name: "p_data", what: "it belongs to q", remedy: "look" } as const;
    assertNothingForeign([]);
    expect(() => {
      assertNothingForeign([thing]);
    }).toThrow(expect.objectContaining({ code: "FULA_DOCKER_FOREIGN", hint: "look." }));
    expect(() => {
      assertNothingForeign([thing, { ...thing, name: "p_other" }]);
    }).toThrow(
      expect.objectContaining({
        kind: "refused",
        message: expect.stringMatching(
          /^2 things[\s\S]*volume p_data[\s\S]*volume p_other[\s\S]*Nothing was changed\.$/,
        ),
      }),
    );
  });
});

describe("an engine", () => {
  test.each([
    [{ code: "ENOENT" }, "FULA_DOCKER_UNREACHABLE", "gave no answer (ENOENT)"],
    [{ code: "ECONNREFUSED" }, "FULA_DOCKER_UNREACHABLE", "gave no answer (ECONNREFUSED)"],
    [{ code: "EACCES" }, "FULA_DOCKER_UNREACHABLE", "refuses this user (EACCES)"],
    [{ statusCode: 500, json: { message: "no space left" } }, "FULA_DOCKER_FAILED", "while looking: no space left"],
    [
      { statusCode: 500, json: { message: "Bind for 127.0.0.1:5432 failed: port is already allocated" } },
      "FULA_PORT_IN_USE",
      "127.0.0.1:5432",
    ],
  ])("that fails with %j is %s", async (facts, code, said) => {
    const failure = askingEngine("looking", async () => await Promise.reject(Object.assign(new Error("x"), facts)));
    await expect(failure).rejects.toMatchObject({ code, message: expect.stringContaining(said) });
  });

  test("is not blamed for what it did not say", () => {
    const bug = new TypeError("x is not a function");
    expect(explainEngineError(bug, "looking")).toBe(bug);
  });
});

describe("an upgrade", () => {
  test("replaces PostgreSQL first and Kubo last", () => {
    const plans = ["kubo", "cluster", "nats", "nats-witness", "gateway", "postgres"].map(
      (name): ServicePlan => ({
        service: service(name),
        action: "keep",
        why: "",
        configHash: "",
        current: null,
        setAside: [],
        imageId: null,
        isHeldBack: false,
      }),
    );
    expect(inUpgradeOrder(plans).map((plan) => plan.service.name)).toEqual([
      "postgres",
      "nats-witness",
      "nats",
      "gateway",
      "cluster",
      "kubo",
    ]);
  });

  test("takes images by the name of their service, and nothing else", () => {
    expect([...parseImages(["kubo=ipfs/kubo:v1", "postgres=a@sha256:b=c"])]).toEqual([
      ["kubo", "ipfs/kubo:v1"],
      ["postgres", "a@sha256:b=c"],
    ]);
    for (const text of ["kubo", "=x", "nats-witness=nats:2", ""]) {
      expect(() => parseImages([text])).toThrow(expect.objectContaining({ code: "FULA_USAGE" }));
    }
  });
});
