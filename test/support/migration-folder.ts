import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tempDir } from "./temp-dir.ts";

/** A folder of migrations that a test writes by itself; it is removed with the test. */
export interface MigrationFolder {
  readonly dir: string;
  write(files: Readonly<Record<string, string>>): void;
  remove(...names: readonly string[]): void;
}

/** Makes such a folder: `{ "001_a.sql": "create table a ()" }`. */
export function migrationFolder(files: Readonly<Record<string, string>>): MigrationFolder {
  const dir = tempDir();
  const folder: MigrationFolder = {
    dir,
    write: (more) => {
      for (const [name, sql] of Object.entries(more)) writeFileSync(join(dir, name), sql);
    },
    remove: (...names) => {
      for (const name of names) rmSync(join(dir, name));
    },
  };
  folder.write(files);
  return folder;
}
