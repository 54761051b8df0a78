import { mergeEnvFile } from "../../../src/lib/config/env-file.ts";

// Merges as many names as asked, one call each, as installers that run side by side do.
const [path = "", prefix = "", count = "0"] = process.argv.slice(2);
for (let index = 0; index < Number(count); index += 1) {
  await mergeEnvFile(path, { [`${prefix}${index}`]: `value of ${prefix}${index}` });
}
