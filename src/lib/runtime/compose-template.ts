import { isMap, parseDocument } from "yaml";
import { invalidCompose } from "./compose-file.ts";

const VARIABLE = /\$\$|\$\{([A-Z][A-Z0-9_]*)(?::-([^}]*))?\}/g;
/** What would change the meaning of a double-quoted YAML text, or be replaced once more by Compose. */
const UNSAFE_VALUE = /["\\$\p{Cc}]/u;

/** Variables that are never filled in: secrets, which Compose and `parseCompose` take from the environment file. */
const SECRET_VARIABLES: ReadonlySet<string> = new Set(["POSTGRES_PASSWORD", "JWT_SECRET"]);

/**
 * Fills the variables of a template, `${NAME}` and `${NAME:-default}`, as Compose does. `$$` stays for Compose to
 * read, and so do the variables that are secrets.
 * @throws FulaError FULA_COMPOSE_INVALID where a variable has no value, or one that YAML would misread
 */
export function renderTemplate(text: string, values: Readonly<Record<string, string>>, file: string): string {
  return text.replaceAll(VARIABLE, (match, name: string | undefined, fallback: string | undefined) => {
    if (name === undefined || SECRET_VARIABLES.has(name)) return match;
    const given = values[name];
    const value = given === undefined || given === "" ? fallback : given;
    if (value === undefined) throw invalidCompose(file, `the variable ${name} has no value`);
    if (UNSAFE_VALUE.test(value)) {
      throw invalidCompose(file, `the value of ${name} holds a quote, a backslash, a dollar or a control character`);
    }
    return value;
  });
}

/**
 * Takes the services out of a rendered file that this box does not run, and what only they used; comments stay.
 * @throws FulaError FULA_COMPOSE_INVALID
 */
export function keepServices(text: string, wanted: readonly string[], file: string): string {
  const document = parseDocument(text);
  const services = document.get("services");
  if (document.errors.length > 0 || !isMap(services)) throw invalidCompose(file, "it has no services");
  const names = services.items.map(({ key }) => String(key));
  for (const name of names.filter((each) => !wanted.includes(each))) document.deleteIn(["services", name]);
  const used = JSON.stringify(document.get("services"));
  for (const section of ["volumes", "secrets"]) {
    const entries = document.get(section);
    if (!isMap(entries)) continue;
    for (const key of entries.items.map((item) => String(item.key))) {
      if (!used.includes(`"${key}:`) && !used.includes(`"${key}"`)) document.deleteIn([section, key]);
    }
    const left = document.get(section);
    if (isMap(left) && left.items.length === 0) document.delete(section);
  }
  return document.toString({ lineWidth: 0 });
}
