import { expect, test } from "vitest";
import { locateBaseDir, locateConfigFile, resolvePaths } from "../../../src/lib/config/paths.ts";

const ROOT = { uid: 0, homedir: "/root" };
const ANA = { uid: 1000, homedir: "/home/ana" };

test.each([
  [{ globals: { baseDir: "rel" }, env: { FULA_MASTER_BASE_DIR: "/env" }, user: ROOT }, "/work/rel", "--base-dir"],
  [{ globals: {}, env: { FULA_MASTER_BASE_DIR: "/env" }, user: ROOT }, "/env", "environment FULA_MASTER_BASE_DIR"],
  [{ globals: {}, env: { FULA_MASTER_BASE_DIR: "" }, user: ROOT }, "/opt/fula-master", "default for root"],
  [{ globals: {}, env: { XDG_DATA_HOME: "/xdg" }, user: ROOT }, "/opt/fula-master", "default for root"],
  [{ globals: {}, env: { XDG_DATA_HOME: "/xdg" }, user: ANA }, "/xdg/fula-master", "XDG_DATA_HOME"],
  [
    { globals: {}, env: { XDG_DATA_HOME: "rel" }, user: ANA },
    "/home/ana/.local/share/fula-master",
    "default for this user",
  ],
  [
    { globals: {}, env: { HOME: "/elsewhere" }, user: ANA },
    "/elsewhere/.local/share/fula-master",
    "default for this user",
  ],
])("%j lies in %s", (given, path, because) => {
  expect(locateBaseDir({ ...given, cwd: "/work" })).toEqual({ path, because });
});

test("the settings file may lie elsewhere, and everything else stays in the base directory", () => {
  const context = {
    globals: { baseDir: "/base", config: "my.yaml" },
    env: { FULA_MASTER_CONFIG: "/env.yaml" },
    cwd: "/work",
  };
  expect(resolvePaths(context)).toMatchObject({
    configFile: "/work/my.yaml",
    envFile: "/base/.env",
    keysDir: "/base/keys",
  });
  expect(locateConfigFile({ ...context, globals: {} }, "/base").path).toBe("/env.yaml");
  expect(locateConfigFile({ ...context, globals: {}, env: {} }, "/base").path).toBe("/base/fula-master.yaml");
});
