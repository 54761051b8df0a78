import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { PROJECT_ROOT } from "../../../src/lib/kernel/project.ts";
import {
  quoteForShell,
  recogniseFile,
  renderEnvironment,
  renderExecStart,
  renderForCron,
  sealFile,
} from "../../../src/lib/stack/schedule-syntax.ts";
import {
  installSchedule,
  planSchedule,
  planSchedules,
  removeSchedule,
  type ScheduleChangeOptions,
} from "../../../src/lib/stack/schedules.ts";
import { scheduleText } from "../../../src/lib/stack/schedule-text.ts";
import { FakeClock } from "../../support/clock.ts";
import { emptyRoot, loadedBox, recordPrograms } from "../../support/schedules.ts";
import { tempDir } from "../../support/temp-dir.ts";

const CRON = { kind: "cron", daemonRuns: true } as const;
const SYSTEMD = { kind: "systemd" } as const;
const NONE = { kind: "none", because: "a test" } as const;
const PLACE = { nodePath: "/usr/bin/node", launcherPath: "/opt/app/bin/fula-master.js", user: "root" } as const;

function on(
  rootDir: string,
  scheduler: ScheduleChangeOptions["scheduler"],
  more: ScheduleChangeOptions = {},
): ScheduleChangeOptions {
  return { rootDir, ...PLACE, ...(scheduler === undefined ? {} : { scheduler }), clock: new FakeClock(), ...more };
}

function jobLine(text: string): string {
  return text
    .split("\n")
    .filter((line) => /^[^#A-Z]/.test(line))
    .join("\n");
}

describe("a cron file", () => {
  test("has the fleet's name, is 644, and says schedule, user and the whole command", async () => {
    const root = emptyRoot();
    const loaded = await loadedBox();
    const { baseDir } = loaded.paths;
    const report = await installSchedule("snapshot", loaded, on(root, CRON));
    const path = join(root, "etc/cron.d/fula-pinset-snapshot");
    expect(report).toMatchObject({
      kind: "snapshot",
      scheduler: "cron",
      outcome: "installed",
      files: [path],
      lines: [],
      warnings: [],
    });
    expect(jobLine(readFileSync(path, "utf8"))).toBe(
      `0 */6 * * * root /usr/bin/node /opt/app/bin/fula-master.js snapshot --base-dir ${baseDir} >> ${baseDir}/logs/snapshot.log 2>&1`,
    );
    expect(readFileSync(path, "utf8")).toMatch(/^SHELL=\/bin\/sh\nPATH=\/usr\/local\/sbin:/m);
    expect(readFileSync(path, "utf8").endsWith("2>&1\n")).toBe(true);
    expect(statSync(path).mode & 0o777).toBe(0o644);
    expect(statSync(join(baseDir, "logs")).mode & 0o777).toBe(0o700);
    expect((await installSchedule("sweep", loaded, on(root, CRON))).files).toEqual([
      join(root, "etc/cron.d/fula-replication-sweep"),
    ]);
  });

  test("of base backups takes them where the ledger's primary is", async () => {
    const root = emptyRoot();
    const loaded = await loadedBox();
    const { baseDir } = loaded.paths;
    await installSchedule("backup", loaded, on(root, CRON));
    expect(jobLine(readFileSync(join(root, "etc/cron.d/fula-ledger-backup"), "utf8"))).toBe(
      `30 2 * * * root /usr/bin/node /opt/app/bin/fula-master.js backup create --if-active --base-dir ${baseDir} >> ${baseDir}/logs/backup-create.log 2>&1`,
    );
  });

  test("carries what only this process knows, which the fleet's cron loses: flags, environment, another settings file", async () => {
    const root = emptyRoot();
    const plain = await loadedBox(
      { yaml: "server:\n  port: 9911\n" },
      { REPL_MIN: "3", FULA_MASTER_SNAPSHOT_MAX_AGE: "30h" },
      { "sweep.alertLog": { flag: "--alert-log", value: "/var/log/50% done.log" } },
    );
    const loaded = { ...plain, paths: { ...plain.paths, configFile: "/etc/my fula.yaml" } };
    await installSchedule("sweep", loaded, on(root, CRON));
    const line = jobLine(readFileSync(join(root, "etc/cron.d/fula-replication-sweep"), "utf8"));
    expect(line).toContain(
      "root /usr/bin/env FULA_MASTER_SNAPSHOT_MAX_AGE=30h FULA_MASTER_SWEEP_REPL_MIN=3 FULA_MASTER_SWEEP_ALERT_LOG='/var/log/50\\% done.log' /usr/bin/node",
    );
    expect(line).toContain(" --config '/etc/my fula.yaml' >>");
    expect(line).not.toContain("9911");
  });

  test("runs as written: cron's own unescaping and a shell give the command back word by word", async () => {
    const dir = tempDir();
    const odd = join(dir, 'it\'s 100% $HOME `x` "q" #1');
    mkdirSync(join(odd, "logs"), { recursive: true });
    const show = join(dir, "show args.sh");
    writeFileSync(show, '#!/bin/sh\nprintf "%s\\n" "$REPL" "$@"\n', { mode: 0o755 });
    const box = await loadedBox();
    const paths = { ...box.paths, baseDir: odd, configFile: join(odd, "fula-master.yaml"), logsDir: join(odd, "logs") };
    const root = emptyRoot();
    await installSchedule("snapshot", { ...box, paths }, on(root, CRON, { nodePath: show }));
    const command = jobLine(readFileSync(join(root, "etc/cron.d/fula-pinset-snapshot"), "utf8")).replace(
      /^(\S+ ){6}/,
      "",
    );
    // crontab(5): an escaped % reaches the shell as %, an unescaped one would end the command.
    expect(command.replaceAll("\\%", "")).not.toContain("%");
    execFileSync("/bin/sh", ["-c", command.replaceAll("\\%", "%")]);
    expect(readFileSync(join(odd, "logs", "snapshot.log"), "utf8")).toBe(
      `\n/opt/app/bin/fula-master.js\nsnapshot\n--base-dir\n${odd}\n`,
    );
  });

  test("holds no secret, and says that one of the environment will be missing", async () => {
    const root = emptyRoot();
    const { warnings, files } = await installSchedule(
      "snapshot",
      await loadedBox({}, { POSTGRES_PASSWORD: "hunter22", POSTGRES_HOST: "db" }),
      on(root, CRON),
    );
    expect(warnings).toEqual([expect.stringMatching(/^POSTGRES_PASSWORD comes from the environment.*\.env\.$/)]);
    expect(readFileSync(files[0] ?? "", "utf8")).not.toContain("hunter22");
    expect(readFileSync(files[0] ?? "", "utf8")).toContain("FULA_MASTER_POSTGRES_HOST=db");
  });

  test("comes with a warning where cron does not run, where the launcher may vanish, and where the line is too long", async () => {
    const launcherPath = "/root/.npm/_npx/abc/node_modules/fula-master/bin/fula-master.js";
    const loaded = await loadedBox({}, { ALERT_LOG: `/${"x".repeat(990)}` });
    const { warnings } = await planSchedule(
      "snapshot",
      loaded,
      on(emptyRoot(), { kind: "cron", daemonRuns: false }, { launcherPath }),
    );
    expect(warnings).toEqual([
      expect.stringContaining("daemon does not run"),
      expect.stringContaining("npx"),
      expect.stringContaining("998 characters"),
    ]);
  });

  test("is refused for a base directory that would end its line", async () => {
    const box = await loadedBox();
    const loaded = { ...box, paths: { ...box.paths, baseDir: "/opt/a\n* * * * * root id" } };
    await expect(installSchedule("snapshot", loaded, on(emptyRoot(), CRON))).rejects.toMatchObject({
      code: "FULA_SCHEDULE_PATH",
      kind: "usage",
    });
  });
});

describe("doing it again", () => {
  test.each([
    ["cron", CRON],
    ["systemd", SYSTEMD],
  ] as const)("changes nothing with %s", async (_, scheduler) => {
    const root = emptyRoot();
    const loaded = await loadedBox();
    const first = await installSchedule("sweep", loaded, on(root, scheduler));
    const before = first.files.map((file) => [readFileSync(file, "utf8"), statSync(file).ino]);
    const again = await installSchedule("sweep", loaded, on(root, scheduler));
    expect(again.outcome).toBe("unchanged");
    expect(again.files.map((file) => [readFileSync(file, "utf8"), statSync(file).ino])).toEqual(before);
    expect(scheduleText(again, false)).toContain("already installed");
  });

  test("rewrites a file that is as we left it when the schedule has changed", async () => {
    const root = emptyRoot();
    const loaded = await loadedBox();
    await installSchedule("sweep", loaded, on(root, CRON));
    const { config } = loaded;
    const changed = { ...loaded, config: { ...config, sweep: { ...config.sweep, schedule: "@hourly" } } };
    const report = await installSchedule("sweep", changed, on(root, CRON));
    expect(report.outcome).toBe("updated");
    expect(jobLine(readFileSync(report.files[0] ?? "", "utf8"))).toMatch(/^@hourly root /m);
  });

  test("a dry run tells the same and writes nothing", async () => {
    const root = emptyRoot();
    const loaded = await loadedBox();
    const planned = await installSchedule("snapshot", loaded, on(root, CRON, { dryRun: true }));
    expect(readdirSync(join(root, "etc/cron.d"))).toEqual([]);
    expect(existsSync(loaded.paths.logsDir)).toBe(false);
    expect(await installSchedule("snapshot", loaded, on(root, CRON))).toEqual(planned);
  });
});

const FLEETS_CRON =
  "0 */6 * * * root CLUSTER_CONTAINER=ipfs_cluster /opt/x/pinset-snapshot.sh >> /var/log/fula-pinset-snapshot.log 2>&1\n";

describe("a file that is not as we wrote it", () => {
  test.each([
    ["the fleet's own cron", FLEETS_CRON, "was not written by fula-master"],
    ["ours with an operator's change", null, "was edited after fula-master wrote it"],
  ])("%s is never overwritten silently", async (_, foreign, told) => {
    const root = emptyRoot();
    const path = join(root, "etc/cron.d/fula-pinset-snapshot");
    await installSchedule("snapshot", await loadedBox(), on(root, CRON));
    const text = foreign ?? readFileSync(path, "utf8").replace("0 */6", "0 */4");
    writeFileSync(path, text);
    const loaded = await loadedBox();

    await expect(installSchedule("snapshot", loaded, on(root, CRON))).rejects.toMatchObject({
      code: "FULA_SCHEDULE_FOREIGN",
      kind: "refused",
      message: expect.stringContaining(told),
    });
    const kept = await installSchedule("snapshot", loaded, on(root, CRON, { onForeign: "keep" }));
    expect(kept).toMatchObject({ outcome: "kept", warnings: [expect.stringContaining(told)] });
    expect(readFileSync(path, "utf8")).toBe(text);
    expect((await removeSchedule("snapshot", loaded, on(root, CRON))).outcome).toBe("kept");

    expect((await installSchedule("snapshot", loaded, on(root, CRON, { onForeign: "replace" }))).outcome).toBe(
      "updated",
    );
    expect(recogniseFile(readFileSync(path, "utf8"))).toEqual({ by: "us", baseDir: loaded.paths.baseDir });
    // The copy lies where no cron daemon runs it.
    const copies = join(loaded.paths.stateDir, "replaced");
    expect(readdirSync(copies).map((name) => readFileSync(join(copies, name), "utf8"))).toEqual([text]);
    expect(readdirSync(join(root, "etc/cron.d"))).toEqual(["fula-pinset-snapshot"]);
  });

  test("the fleet's cron beside a new systemd timer would run the job twice, so it is refused as well", async () => {
    const root = emptyRoot();
    writeFileSync(join(root, "etc/cron.d/fula-pinset-snapshot"), FLEETS_CRON);
    await expect(installSchedule("snapshot", await loadedBox(), on(root, SYSTEMD))).rejects.toMatchObject({
      message: expect.stringContaining("would run the job a second time"),
    });
    expect(readdirSync(join(root, "etc/systemd/system"))).toEqual([]);
  });

  test("a file whose header was copied onto other lines is not taken for ours", () => {
    const ours = sealFile("/opt/fula-master", "x\n");
    expect(recogniseFile(ours)).toEqual({ by: "us", baseDir: "/opt/fula-master" });
    expect(recogniseFile(ours.replace("x\n", "y\n"))).toEqual({ by: "editor" });
    expect(recogniseFile(ours.replace("/opt/fula-master", "/opt/other"))).toEqual({ by: "editor" });
    expect(recogniseFile(ours.replace(/# fula-master-sha256.*\n/, ""))).toEqual({ by: "editor" });
    expect(recogniseFile("x\n")).toEqual({ by: "stranger" });
  });

  test("the schedule of another master on this box is left to it, until that master is gone", async () => {
    const root = emptyRoot();
    const [first, second] = [await loadedBox(), await loadedBox()];
    await installSchedule("snapshot", first, on(root, CRON));
    await expect(installSchedule("snapshot", second, on(root, CRON))).rejects.toMatchObject({
      code: "FULA_SCHEDULE_FOREIGN",
      message: expect.stringContaining("another base directory"),
    });
    expect((await removeSchedule("snapshot", second, on(root, CRON))).outcome).toBe("kept");
    rmSync(first.paths.baseDir, { recursive: true });
    expect((await installSchedule("snapshot", second, on(root, CRON))).outcome).toBe("updated");
  });
});

describe("a systemd timer", () => {
  test("catches up after an outage, and its service runs the command with what it needs", async () => {
    const root = emptyRoot();
    const loaded = await loadedBox({}, { REPL_MIN: "3" });
    const { files } = await installSchedule("sweep", loaded, on(root, SYSTEMD));
    const [service = "", timer = ""] = files.map((file) => readFileSync(file, "utf8"));
    expect(files.map((file) => file.slice(root.length))).toEqual([
      "/etc/systemd/system/fula-replication-sweep.service",
      "/etc/systemd/system/fula-replication-sweep.timer",
    ]);
    expect(timer).toMatch(/^OnCalendar=\*-\*-\* \*:00,30:00$/m);
    expect(timer).toMatch(/^Persistent=true$/m);
    expect(service).toMatch(
      /^Type=oneshot\nEnvironment=FULA_MASTER_SWEEP_REPL_MIN=3\nExecStart=\/usr\/bin\/node \/opt\/app\/bin\/fula-master\.js sweep --base-dir \S+$/m,
    );
    expect(service).toContain(`ReadWritePaths=${loaded.paths.baseDir} -${loaded.paths.baseDir}/replication-alerts.log`);
  });

  test("is reloaded, enabled and started, and left alone once it runs", async () => {
    const root = emptyRoot();
    const loaded = await loadedBox();
    const install = async (answers = {}): Promise<{ outcome: string; calls: readonly string[] }> => {
      const { run, calls } = recordPrograms(answers);
      const { outcome } = await installSchedule("snapshot", loaded, on(root, SYSTEMD, { run, live: true }));
      return { outcome, calls };
    };
    const timer = "fula-pinset-snapshot.timer";
    const asked = [`systemctl is-enabled ${timer}`, `systemctl is-active ${timer}`];
    const enabled = ["systemctl daemon-reload", `systemctl enable --now ${timer}`];
    expect(await install()).toEqual({ outcome: "installed", calls: [...enabled, `systemctl restart ${timer}`] });
    expect(await install()).toEqual({ outcome: "unchanged", calls: asked });
    const stopped = { [`systemctl is-active ${timer}`]: { exitCode: 3 } };
    expect(await install(stopped)).toEqual({ outcome: "updated", calls: [...asked, ...enabled] });
  });

  test("that systemd does not take is an error with its own words", async () => {
    const { run } = recordPrograms({ "systemctl daemon-reload": { exitCode: 1, stderr: "Access denied\n" } });
    await expect(
      installSchedule("sweep", await loadedBox(), on(emptyRoot(), SYSTEMD, { run, live: true })),
    ).rejects.toMatchObject({
      code: "FULA_SCHEDULE_INSTALL",
      kind: "unavailable",
      message: expect.stringContaining("Access denied"),
    });
  });

  test("is stopped before its files go", async () => {
    const root = emptyRoot();
    const loaded = await loadedBox();
    await installSchedule("sweep", loaded, on(root, SYSTEMD));
    const { run, calls } = recordPrograms();
    await removeSchedule("sweep", loaded, on(root, SYSTEMD, { run, live: true }));
    expect(calls).toEqual(["systemctl disable --now fula-replication-sweep.timer", "systemctl daemon-reload"]);
  });

  test("another root directory leaves the running systemd alone", async () => {
    const { run, calls } = recordPrograms();
    await installSchedule("snapshot", await loadedBox(), on(emptyRoot(), SYSTEMD, { run }));
    expect(calls).toEqual([]);
  });

  test("of a box that moved from cron to systemd takes the place of the cron file", async () => {
    const root = emptyRoot();
    const loaded = await loadedBox();
    await installSchedule("snapshot", loaded, on(root, CRON));
    expect((await installSchedule("snapshot", loaded, on(root, SYSTEMD))).outcome).toBe("installed");
    expect(readdirSync(join(root, "etc/cron.d"))).toEqual([]);
    await installSchedule("snapshot", loaded, on(root, CRON));
    expect(readdirSync(join(root, "etc/systemd/system"))).toEqual([]);
  });

  test.each(["snapshot", "sweep", "backup", "boot"] as const)(
    "and its service pass systemd's own check, where it is installed: %s",
    async (kind) => {
      const root = emptyRoot();
      const loaded = await loadedBox(
        { yaml: 'snapshot:\n  schedule: "0 0 1 * mon"\n' },
        { ALERT_LOG: "/var/log/50% of $HOME 'it'.log" },
      );
      const { files } = await installSchedule(
        kind,
        loaded,
        on(root, SYSTEMD, { nodePath: process.execPath, launcherPath: join(PROJECT_ROOT, "bin", "fula-master.js") }),
      );
      for (const file of files) expect(readFileSync(file, "utf8")).not.toMatch(/\{\{|undefined/);
      if (spawnSync("systemd-analyze", ["--version"]).error !== undefined) return;
      const { status, stderr } = spawnSync("systemd-analyze", ["verify", "--man=no", ...files], { encoding: "utf8" });
      const ours = stderr.split("\n").filter((line) => line.includes("fula-"));
      expect({ status, ours }).toEqual({ status: 0, ours: [] });
    },
  );
});

test.each(["backup", "boot"] as const)("may write where base backups and WAL go, under %s", async (kind) => {
  const root = emptyRoot();
  const loaded = await loadedBox({ yaml: "backup:\n  dir: /root/other disk\n" });
  const { files } = await installSchedule(kind, loaded, on(root, SYSTEMD));
  expect(readFileSync(files[0] ?? "", "utf8")).toMatch(/^ReadWritePaths=.* "?-\/root\/other disk"?$/m);
});

describe("a start at boot", () => {
  test("is a service that restarts, but not on a wrong configuration, and stops later than serve gives up", async () => {
    const root = emptyRoot();
    const { files } = await installSchedule(
      "boot",
      await loadedBox({ yaml: "server:\n  shutdownTimeout: 45s\n" }),
      on(root, SYSTEMD),
    );
    expect(files).toEqual([join(root, "etc/systemd/system/fula-master.service")]);
    const text = readFileSync(files[0] ?? "", "utf8");
    for (const line of [
      "Restart=on-failure",
      "RestartPreventExitStatus=2 3",
      "TimeoutStopSec=75",
      "KillMode=mixed",
      "NoNewPrivileges=yes",
      "WantedBy=multi-user.target",
    ]) {
      expect(text.split("\n")).toContain(line);
    }
    expect(text).toMatch(/^ExecStart=\/usr\/bin\/node \/opt\/app\/bin\/fula-master\.js serve --base-dir /m);
  });

  test("is an @reboot line where cron runs things", async () => {
    const root = emptyRoot();
    const { files } = await installSchedule("boot", await loadedBox(), on(root, CRON));
    expect(jobLine(readFileSync(files[0] ?? "", "utf8"))).toMatch(
      /^@reboot root .* serve --base-dir \S+ >> \S+\/logs\/serve\.log 2>&1$/,
    );
  });
});

describe("without a scheduler", () => {
  test("the exact line is given to be printed, no schedule is written, and the directory of its log is there", async () => {
    const root = emptyRoot();
    const loaded = await loadedBox();
    const report = await installSchedule("snapshot", loaded, on(root, NONE));
    const { baseDir } = loaded.paths;
    expect(report).toMatchObject({ outcome: "printed", files: [] });
    expect(report.lines).toEqual([
      `0 */6 * * * /usr/bin/node /opt/app/bin/fula-master.js snapshot --base-dir ${baseDir} >> ${baseDir}/logs/snapshot.log 2>&1`,
    ]);
    expect(existsSync(loaded.paths.logsDir)).toBe(true);
    expect(scheduleText(report, false)).toMatch(/not installed: a test\.\n.*crontab of this user:\n0 \*\/6 /);
    expect(readdirSync(join(root, "etc/cron.d"))).toEqual([]);
  });

  test("both jobs of a master are planned at once", async () => {
    const plans = await planSchedules(await loadedBox(), on(emptyRoot(), NONE));
    expect(plans.map(({ kind, schedule }) => [kind, schedule])).toEqual([
      ["snapshot", "0 */6 * * *"],
      ["sweep", "*/30 * * * *"],
    ]);
  });
});

describe("taking a schedule away", () => {
  test("removes what we wrote under either scheduler, and only that", async () => {
    const root = emptyRoot();
    const loaded = await loadedBox();
    await installSchedule("snapshot", loaded, on(root, CRON));
    await installSchedule("sweep", loaded, on(root, SYSTEMD));
    const dry = await removeSchedule("snapshot", loaded, on(root, CRON, { dryRun: true }));
    expect(readdirSync(join(root, "etc/cron.d"))).toEqual(["fula-pinset-snapshot"]);
    expect(await removeSchedule("snapshot", loaded, on(root, CRON))).toEqual(dry);
    expect(readdirSync(join(root, "etc/cron.d"))).toEqual([]);
    expect(readdirSync(join(root, "etc/systemd/system"))).toHaveLength(2);
    expect((await removeSchedule("sweep", loaded, on(root, SYSTEMD))).outcome).toBe("removed");
    expect((await removeSchedule("sweep", loaded, on(root, SYSTEMD))).outcome).toBe("unchanged");
    expect(readdirSync(join(root, "etc/systemd/system"))).toEqual([]);
  });
});

test.each([
  ["plain/path-1.2", "plain/path-1.2", "plain/path-1.2"],
  ["a b", "'a b'", '"a b"'],
  ["it's", "'it'\\''s'", `"it's"`],
  ["50%", "'50%'", '"50%%"'],
  ["$HOME", "'$HOME'", '"$$HOME"'],
  ['a"b\\c', `'a"b\\c'`, '"a\\"b\\\\c"'],
])("%s is one word for a shell and for a unit", (word, shell, unit) => {
  expect(quoteForShell(word)).toBe(shell);
  expect(renderExecStart(["/bin/x", word])).toBe(`/bin/x ${unit}`);
  expect(renderEnvironment({ A: word })).toBe(
    `Environment=${unit.startsWith('"') ? `"A=${unit.slice(1).replaceAll("$$", "$")}` : `A=${unit}`}`,
  );
  expect(renderForCron(word)).toBe(word.replaceAll("%", "\\%"));
});
