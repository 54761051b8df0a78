import {
  chmodSync,
  chownSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type Docker from "dockerode";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { type ApplyContext, type ApplyReport, applyProject } from "../../src/lib/runtime/compose-apply.ts";
import { type ComposeProject, parseCompose } from "../../src/lib/runtime/compose-file.ts";
import { type PlanOptions, planProject, type ProjectPlan } from "../../src/lib/runtime/compose-plan.ts";
import { removeProject } from "../../src/lib/runtime/compose-remove.ts";
import { keepServices, renderTemplate } from "../../src/lib/runtime/compose-template.ts";
import { runInContainer } from "../../src/lib/runtime/container-exec.ts";
import { readProjectHealth, type ServiceHealth } from "../../src/lib/runtime/project-health.ts";
import { infra } from "../infra/infra.ts";
import { uniqueName } from "./containers.ts";

/** How a program in a container ended. */
export interface ExecOutcome {
  readonly exitCode: number;
  readonly stdout: string;
}

/** A Compose project of a test, with everything in it removed when it is disposed of. */
export interface TestProject extends AsyncDisposable {
  readonly docker: Docker;
  readonly name: string;
  /** Where its Compose file is, and what it mounts. */
  readonly dir: string;
  /** Reads the Compose file again. */
  read(): ComposeProject;
  /** Runs a program in the container of a service. */
  exec(service: string, argv: readonly string[], env?: Readonly<Record<string, string>>): Promise<ExecOutcome>;
  /** What the Compose file says now. */
  text(): string;
  /** Writes another Compose file; `PROJECT` in it stands for the project's name. */
  write(text: string): void;
  plan(options?: PlanOptions): Promise<ProjectPlan>;
  /** Plans and applies. */
  apply(options?: PlanOptions & Partial<ApplyContext>): Promise<ApplyReport>;
  health(): Promise<readonly ServiceHealth[]>;
  /** The one container of a service. @throws Error where there is not exactly one */
  containerOf(service: string): Promise<ServiceHealth>;
}

/** Starts with nothing but a name and a folder. */
export function composeProject(text: string): TestProject {
  const { docker } = infra();
  const name = uniqueName("project");
  const dir = mkdtempSync(join(tmpdir(), "fula-project-"));
  const file = join(dir, "compose.yaml");
  const signal = new AbortController().signal;
  const write = (next: string): void => {
    writeFileSync(file, next.replaceAll("PROJECT", name));
  };
  write(text);
  const read = (): ComposeProject => parseCompose(readFileSync(file, "utf8"), { project: name, file });
  const plan = async (options?: PlanOptions): Promise<ProjectPlan> => await planProject(docker, read(), options);
  const health = async (): Promise<readonly ServiceHealth[]> => await readProjectHealth(docker, name);
  const containerOf = async (service: string): Promise<ServiceHealth> => {
    const found = (await health()).filter((each) => each.service === service);
    const [container] = found;
    if (container === undefined || found.length > 1) throw new Error(`${service} has ${found.length} containers`);
    return container;
  };
  return {
    docker,
    name,
    dir,
    exec: async (service, args, env = {}) => {
      const { containerId } = await containerOf(service);
      const pieces: Buffer[] = [];
      const onOutput = async (piece: Buffer): Promise<void> => {
        pieces.push(Buffer.from(piece));
        await Promise.resolve();
      };
      const { exitCode } = await runInContainer(docker, containerId, { args, env, onOutput });
      return { exitCode, stdout: Buffer.concat(pieces).toString("utf8") };
    },
    read,
    text: () => readFileSync(file, "utf8"),
    write,
    plan,
    health,
    apply: async (options = {}) => {
      const context = { clock: systemClock, signal, report: () => {}, healthPatienceMs: 240_000, ...options };
      return await applyProject(docker, await plan(options), context);
    },
    containerOf,
    [Symbol.asyncDispose]: async () => {
      const all = await health();
      // One that ends again and again may be between two of its lives: what is left is removed below, or fails there.
      await Promise.allSettled(
        all.map(async ({ containerId }) => await docker.getContainer(containerId).remove({ force: true })),
      );
      await removeProject(docker, name, { signal, report: () => {}, volumes: true });
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

const TEMPLATES = join(import.meta.dirname, "../../templates/docker");
const DAEMON_USER = [1_000, 100] as const;

/** The Compose file of a master or storage node as `join` would render it, with the scripts and secrets beside it. */
export function composeProjectOf(
  role: "master" | "storage",
  values: Readonly<Record<string, string>>,
  wish: { readonly services: readonly string[]; readonly secrets: Readonly<Record<string, string>> },
): TestProject {
  const template = join(TEMPLATES, `${role}.compose.yaml`);
  const names = {
    POSTGRES_CONTAINER: "PROJECT-postgres-1",
    KUBO_CONTAINER: "PROJECT-kubo-1",
    CLUSTER_CONTAINER: "PROJECT-cluster-1",
  };
  const rendered = renderTemplate(readFileSync(template, "utf8"), { ...names, ...values }, template);
  const project = composeProject(keepServices(rendered, wish.services, template));
  mkdirSync(join(project.dir, "docker"));
  for (const script of readdirSync(TEMPLATES).filter((each) => each.endsWith(".sh"))) {
    cpSync(join(TEMPLATES, script), join(project.dir, "docker", script));
  }
  mkdirSync(join(project.dir, "secrets"));
  // Every Kubo has the file; it is empty but in a private network.
  for (const [name, secret] of Object.entries({ swarm_key: "", ...wish.secrets })) {
    const path = join(project.dir, "secrets", name);
    writeFileSync(path, secret);
    if (name !== "postgres_password") chownSync(path, ...DAEMON_USER);
    chmodSync(path, 0o400);
  }
  return project;
}
