import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { renderConfigurationReference } from "../src/lib/config/reference.ts";
import { PROJECT_ROOT } from "../src/lib/kernel/project.ts";
import { renderCommandsDoc } from "./docs/commands.ts";
import { renderErrorsDoc } from "./docs/errors.ts";
import { renderOpenApiDoc } from "./docs/openapi.ts";

interface RenderedDocument {
  readonly file: string;
  readonly render: () => string | Promise<string>;
}

/** The documents that are rendered from the code, and never edited by hand. */
export const RENDERED_DOCUMENTS: readonly RenderedDocument[] = [
  { file: "docs/ERRORS.md", render: renderErrorsDoc },
  { file: "docs/commands.md", render: renderCommandsDoc },
  { file: "docs/configuration.md", render: renderConfigurationReference },
  { file: "docs/openapi.json", render: renderOpenApiDoc },
];

if (import.meta.main) {
  for (const { file, render } of RENDERED_DOCUMENTS) {
    const path = join(PROJECT_ROOT, file);
    const text = await render();
    const isSame = (await readFile(path, "utf8").catch(() => "")) === text;
    if (!isSame) await writeFile(path, text);
    console.log(`${file}: ${isSame ? "already so" : "written"}`);
  }
}
