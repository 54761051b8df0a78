import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { configHashOf, createOptions } from "../../../src/lib/runtime/compose-container.ts";
import { type ComposeProject, parseCompose } from "../../../src/lib/runtime/compose-file.ts";
import { keepServices, renderTemplate } from "../../../src/lib/runtime/compose-template.ts";

const FILE = "/base/compose.yaml";

function template(role: "master" | "storage"): string {
  return readFileSync(join(import.meta.dirname, `../../../templates/docker/${role}.compose.yaml`), "utf8");
}

const MASTER = template("master");

function read(services: string, more = ""): ComposeProject {
  return parseCompose(`services:\n${services}\n${more}`, { project: "p", file: FILE });
}

function one(lines: string, more = ""): ComposeProject {
  const text = lines
    .split("\n")
    .map((line) => `    ${line}`)
    .join("\n");
  return read(`  one:\n    image: i:1\n    container_name: c\n${text}`, more);
}

describe("a Compose file", () => {
  test("that says what is not understood is refused with the place, because a limit that nobody applies is none", () => {
    for (const [line, place] of [
      ["cpus: 2", "services.one"],
      ["privileged: true", "services.one"],
      ["networks: [lan]", "the network lan, which is not declared"],
      ["secrets: [key]", "the secret key, which is not declared"],
      ["volumes: ['data:/data']", "the volume data, which is not declared"],
      ["depends_on: [two]", "the service two, which is not declared"],
      ["mem_limit: lots", "services.one.mem_limit"],
      ["ports: ['80']", "80 is no published port"],
      ["network_mode: bridge", "services.one.network_mode"],
      ["environment: { A: '${LOST}' }", "never filled in"],
    ] as const) {
      expect(() => one(line)).toThrow(
        expect.objectContaining({ code: "FULA_COMPOSE_INVALID", message: expect.stringContaining(place) }),
      );
    }
    expect(() => read("  one: [")).toThrow(expect.objectContaining({ code: "FULA_COMPOSE_INVALID" }));
  });

  test("whose services depend on one another in a circle is refused", () => {
    const service = (name: string, needs: string): string =>
      `  ${name}:\n    image: i\n    container_name: ${name}\n    depends_on: [${needs}]\n`;
    expect(() => read(service("a", "b") + service("b", "a"))).toThrow(/circle/);
    const ordered = read(`${service("b", "a")}  a:\n    image: i\n    container_name: a\n`);
    expect(ordered.services.map(({ name }) => name)).toEqual(["a", "b"]);
  });

  test("becomes what the engine is told: names with the project in front, paths from its folder, times and sizes in the engine's units", () => {
    const project = one(
      [
        "user: '1000:100'",
        "ports: ['127.0.0.1:15001:5001', '4001:4001/udp']",
        "volumes: ['data:/data', './docker/a.sh:/a.sh:ro']",
        "secrets: [key]",
        "networks: [lan]",
        "mem_limit: 1048576",
        "stop_grace_period: 1500ms",
        "tmpfs: [/tmp, '/run:mode=0755']",
        "environment: { PRICE: '5$$', COUNT: 3 }",
        "healthcheck: { test: [CMD, ask], interval: 2s, timeout: 1s, retries: 3 }",
      ].join("\n"),
      "networks: { lan: {} }\nvolumes: { data: {} }\nsecrets: { key: { file: ./secrets/key } }\n",
    );
    const [service] = project.services;
    if (service === undefined) throw new Error("no service");
    expect(createOptions(project, service, "hash")).toMatchObject({
      name: "c",
      Image: "i:1",
      User: "1000:100",
      Env: ["PRICE=5$", "COUNT=3"],
      StopTimeout: 2,
      Healthcheck: { Test: ["CMD", "ask"], Interval: 2e9, Timeout: 1e9, Retries: 3, StartPeriod: 0 },
      Labels: {
        "com.docker.compose.project": "p",
        "com.docker.compose.service": "one",
        "com.docker.compose.config-hash": "hash",
        "com.docker.compose.container-number": "1",
        "com.docker.compose.oneoff": "False",
        "com.docker.compose.project.working_dir": "/base",
        "com.docker.compose.project.config_files": FILE,
      },
      HostConfig: {
        NetworkMode: "p_lan",
        Memory: 1_048_576,
        Tmpfs: { "/tmp": "", "/run": "mode=0755" },
        PortBindings: {
          "5001/tcp": [{ HostIp: "127.0.0.1", HostPort: "15001" }],
          "4001/udp": [{ HostIp: "0.0.0.0", HostPort: "4001" }],
        },
        Mounts: [
          { Type: "volume", Source: "p_data", Target: "/data", ReadOnly: false },
          { Type: "bind", Source: "/base/docker/a.sh", Target: "/a.sh", ReadOnly: true },
          { Type: "bind", Source: "/base/secrets/key", Target: "/run/secrets/key", ReadOnly: true },
        ],
      },
    });
  });

  test("gives each service a hash that changes with whatever its container is made from", async () => {
    const hashOf = async (line: string, content = "a"): Promise<string> => {
      const text = `services:\n  one:\n    image: i:1\n    container_name: c\n    volumes: ['./s.sh:/s.sh:ro']\n    ${line}\n`;
      const contents = new Map([["/base/s.sh", content]]);
      const project = parseCompose(text, { project: "p", file: FILE, contents });
      const [service] = project.services;
      if (service === undefined) throw new Error("no service");
      return await configHashOf(project, service);
    };
    const all = await Promise.all([
      hashOf("restart: always"),
      hashOf("restart: always", "b"),
      hashOf("environment: { A: b }"),
      hashOf("read_only: true"),
    ]);
    expect(new Set(all).size).toBe(all.length);
    expect(await hashOf("restart: always")).toBe(all[0]);
    // Whether the engine starts it at boot is changed on the container as it is.
    expect(await hashOf("restart: 'no'")).toBe(all[0]);
  });

  test("of the existing gateway has everything that it needs, and takes requests on loopback alone", () => {
    const rendered = renderTemplate(MASTER, { GATEWAY_PORT: "9100" }, FILE);
    const project = parseCompose(keepServices(rendered, ["gateway"], FILE), {
      project: "fula-master",
      file: FILE,
      variables: { POSTGRES_PASSWORD: "it's $5 #1", JWT_SECRET: "s".repeat(64) },
    });
    expect(project.services.map(({ name }) => name)).toEqual(["gateway"]);
    expect(project.services[0]).toMatchObject({
      containerName: "fula-gateway-1",
      isOnHost: true,
      ports: [{ hostIp: "127.0.0.1", hostPort: 9_100, containerPort: 9_100, protocol: "tcp" }],
      mounts: [{ type: "volume", source: "fula-gateway-state", target: "/var/lib/fula-gateway", readOnly: false }],
      environment: {
        FULA_HOST: "127.0.0.1",
        FULA_PORT: "9100",
        IPFS_API_URL: "http://127.0.0.1:5001",
        CLUSTER_API_URL: "http://127.0.0.1:9094",
        PINNING_SERVICE_ENDPOINT: "http://127.0.0.1:6000",
        POSTGRES_HOST: "127.0.0.1",
        POSTGRES_PORT: "5432",
        POSTGRES_DB: "pinning_service",
        POSTGRES_USER: "pinning_user",
        POSTGRES_PASSWORD: "it's $5 #1",
        JWT_SECRET: "s".repeat(64),
      },
    });
    expect(rendered).not.toContain("it's $5 #1");
  });

  test.each(["master", "storage"] as const)("of a %s gives no container the engine's socket", (role) => {
    const rendered = renderTemplate(template(role), {}, FILE);
    const { services, volumes } = parseCompose(rendered, { project: "p", file: FILE });
    const mounts = services.flatMap((service) => service.mounts.map(({ source }) => source));
    expect(mounts.length).toBeGreaterThan(services.length);
    expect([...mounts, ...volumes.map(({ name }) => name)].join("\n")).not.toMatch(/docker\.sock|\/run(\/|$)|^\/$/m);
    expect(rendered).not.toMatch(/docker\.sock|DOCKER_HOST/);
  });
});

describe("a template", () => {
  test("takes a value over its default, keeps doubled dollars for Compose, and leaves the secrets as variables", () => {
    const text = 'a: "${NAME:-default}", b: "${OTHER:-x}", c: "$$(cat)", d: "${JWT_SECRET:-}"';
    expect(renderTemplate(text, { NAME: "value", OTHER: "" }, FILE)).toBe(
      'a: "value", b: "x", c: "$$(cat)", d: "${JWT_SECRET:-}"',
    );
  });

  test("refuses a value that YAML or Compose would read as something else, and a variable without one", () => {
    for (const value of ['a"b', "a\\b", "a$b", "a\nb"]) {
      expect(() => renderTemplate('"${NAME}"', { NAME: value }, FILE)).toThrow(
        expect.objectContaining({ code: "FULA_COMPOSE_INVALID" }),
      );
    }
    expect(() => renderTemplate('"${NAME}"', {}, FILE)).toThrow(/NAME has no value/);
  });

  test("loses the services that a box does not run, with what only they used", () => {
    const text = keepServices(renderTemplate(MASTER, {}, FILE), ["kubo"], FILE);
    expect(text).not.toMatch(/postgres_password|cluster-data|pgdata|cluster_secret/);
    expect(parseCompose(text, { project: "p", file: FILE })).toMatchObject({
      services: [{ name: "kubo" }],
      volumes: [{ key: "kubo-data", name: "p_kubo-data" }],
      networks: [{ key: "stack", name: "p_stack" }],
    });
  });
});
