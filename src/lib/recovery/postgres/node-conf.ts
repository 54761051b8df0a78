import { assert } from "../../kernel/assert.ts";
import { FulaError } from "../../kernel/errors.ts";
import type { PostgresSite, SiteSession } from "../../runtime/postgres-site.ts";
import { changeSiteFile, prepareSiteFile, readSiteFile } from "./site-files.ts";
import { siteLayout } from "./site-layout.ts";

/** Settings of PostgreSQL by name, as texts. */
export type NodeConf = Readonly<Record<string, string>>;

const HEADER = `# Written by fula-master: the role of this box in the ledger's replication. What is changed here by hand is
# overwritten; settings of your own belong into postgresql.conf of the data directory, which is read before this file.
`;
const NAME = /^[a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*)?$/;
const LINE = /^([a-z_][a-z0-9_.]*) = '((?:[^'\\]|''|\\\\)*)'$/;

/** Renders the file. Texts are quoted as PostgreSQL reads them: quotes doubled, backslashes too. */
export function renderNodeConf(conf: NodeConf): string {
  const lines = Object.entries(conf)
    .toSorted(([one], [other]) => (one < other ? -1 : 1))
    .map(([name, value]) => {
      assert(NAME.test(name), `${name} is no name of a setting`);
      // A line break would begin another setting.
      assert(!/[\n\r\0]/.test(value), `the value of ${name} is more than one line`);
      return `${name} = '${value.replaceAll("\\", "\\\\").replaceAll("'", "''")}'\n`;
    });
  return `${HEADER}${lines.join("")}`;
}

/** Reads what `renderNodeConf` made. @throws FulaError FULA_RECOVERY_NODE_CONF for a line that it would not write */
export function parseNodeConf(text: string, path: string): NodeConf {
  const conf: Record<string, string> = {};
  for (const [index, line] of text.split("\n").entries()) {
    if (line === "" || line.startsWith("#")) continue;
    const [, name, value] = LINE.exec(line) ?? [];
    if (name === undefined || value === undefined) {
      throw new FulaError(
        "FULA_RECOVERY_NODE_CONF",
        `Line ${index + 1} of ${path} is none that fula-master writes: somebody else did.`,
        { hint: "move what is yours into postgresql.conf of the data directory, and take the line out here." },
      );
    }
    conf[name] = value.replaceAll("''", "'").replaceAll("\\\\", "\\");
  }
  return conf;
}

/** The settings of this box's role; none where the file is not there. @throws FulaError FULA_RECOVERY_NODE_CONF, FULA_RECOVERY_STEP */
export async function readNodeConf(session: SiteSession, site: Pick<PostgresSite, "rootDir">): Promise<NodeConf> {
  const path = siteLayout(site).nodeConf;
  return parseNodeConf((await readSiteFile(session, path)) ?? "", path);
}

function changed(
  path: string,
  before: string | null,
  changes: Readonly<Record<string, string | null>>,
): { readonly conf: NodeConf; readonly text: string } {
  const merged = new Map(Object.entries(parseNodeConf(before ?? "", path)));
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) merged.delete(name);
    else merged.set(name, value);
  }
  const conf = Object.fromEntries(merged);
  return { conf, text: renderNodeConf(conf) };
}

/**
 * Changes settings of this box's role and leaves the others: null takes one out. Durable when it returns; the server
 * learns of it by `reload` or its next start.
 * @returns all settings as they stand now
 * @throws FulaError FULA_RECOVERY_NODE_CONF, FULA_RECOVERY_STEP
 */
export async function writeNodeConf(
  session: SiteSession,
  site: Pick<PostgresSite, "rootDir">,
  changes: Readonly<Record<string, string | null>>,
): Promise<NodeConf> {
  const path = siteLayout(site).nodeConf;
  let conf: NodeConf = {};
  await changeSiteFile(session, path, (before) => {
    const after = changed(path, before, changes);
    conf = after.conf;
    return after.text;
  });
  return conf;
}

/**
 * As `writeNodeConf`, with what takes time before it is wanted.
 * @returns what makes the changes durable
 * @throws FulaError FULA_RECOVERY_NODE_CONF, FULA_RECOVERY_STEP
 */
export async function prepareNodeConf(
  session: SiteSession,
  site: Pick<PostgresSite, "rootDir">,
  changes: Readonly<Record<string, string | null>>,
): Promise<() => Promise<void>> {
  const path = siteLayout(site).nodeConf;
  const write = await prepareSiteFile(session, path, (before) => changed(path, before, changes).text);
  return async () => {
    if (!(await write())) await writeNodeConf(session, site, changes);
  };
}
