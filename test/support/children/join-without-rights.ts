import { runCliForTest } from "../cli.ts";

// Gives up root's rights (root may write everywhere), then joins. The dry run before loads every module that it needs:
// afterwards this process may not be able to read them.
const [baseDir = "", other = "", uid = ""] = process.argv.slice(2);
await runCliForTest(["join", "--runtime", "embedded", "--dry-run"], { baseDir: other });
if (uid !== "") {
  process.setgroups?.([]);
  process.setgid?.(Number(uid));
  process.setuid?.(Number(uid));
}
process.stdout.write(
  JSON.stringify(await runCliForTest(["join", "--runtime", "embedded", "--yes", "--no-start"], { baseDir })),
);
