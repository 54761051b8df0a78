import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import { z } from "zod";

const documentSchema = z.looseObject({
  openapi: z.literal("3.1.0"),
  paths: z.record(
    z.string(),
    z.record(
      z.string(),
      z.looseObject({
        security: z.array(z.record(z.string(), z.array(z.string()))).optional(),
        responses: z.record(
          z.string(),
          z.looseObject({
            // Without it the answer has no body.
            content: z.object({ "application/json": z.looseObject({ schema: z.unknown() }) }).optional(),
          }),
        ),
      }),
    ),
  ),
});

/** An OpenAPI document, as far as tests read it. */
export type OpenApiDocument = z.infer<typeof documentSchema>;

/** Reads a served document. */
export function parseOpenApi(json: unknown): OpenApiDocument {
  return documentSchema.parse(json);
}

/** One operation of the document. */
export interface Operation {
  readonly method: string;
  readonly path: string;
  readonly statuses: readonly string[];
}

/** Every operation of the document. */
export function operationsOf({ paths }: OpenApiDocument): readonly Operation[] {
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { responses }]) => ({ method, path, statuses: Object.keys(responses) })),
  );
}

/** Holds real answers against the document; throws where an answer is none that the document knows. */
export interface AnswerCheck {
  check(method: string, url: string, status: number, body: string): void;
  /** `get /api/v1/storage 200` of everything that was held against it. */
  readonly seen: ReadonlySet<string>;
}

/** Makes the check of one document. */
export function checkAnswers(document: OpenApiDocument): AnswerCheck {
  const ajv = new Ajv2020({ strict: false, allErrors: true, formats: { "date-time": /^\d{4}-\d\d-\d\dT[\d:.]+Z$/ } });
  ajv.addSchema(document, "openapi");
  const compiled = new Map<string, ValidateFunction>();
  const seen = new Set<string>();
  const templates = Object.keys(document.paths).map((path) => ({
    path,
    pattern: new RegExp(`^${path.replaceAll(/\{\w+\}/g, "[^/]+")}$`),
    parameters: path.split("{").length,
  }));
  return {
    seen,
    check: (method, url, status, body) => {
      const pathname = url.split("?")[0] ?? url;
      const [found] = templates
        .filter(({ pattern }) => pattern.test(pathname))
        .toSorted((a, b) => a.parameters - b.parameters);
      const response = document.paths[found?.path ?? ""]?.[method.toLowerCase()]?.responses[String(status)];
      const key = `${method.toLowerCase()} ${found?.path ?? pathname} ${status}`;
      if (response === undefined) throw new Error(`The document does not know the answer ${key}: ${body}`);
      if (response.content === undefined) {
        if (body !== "") throw new Error(`The answer ${key} is documented to have no body: ${body}`);
        seen.add(key);
        return;
      }
      const steps = ["paths", found?.path ?? "", method.toLowerCase(), "responses", String(status), "content"];
      const pointer = [...steps, "application/json", "schema"].map((step) =>
        encodeURIComponent(step.replaceAll("~", "~0").replaceAll("/", "~1")),
      );
      const validate = compiled.get(key) ?? ajv.compile({ $ref: `openapi#/${pointer.join("/")}` });
      compiled.set(key, validate);
      if (!validate(JSON.parse(body))) {
        throw new Error(`The answer ${key} is not as documented: ${ajv.errorsText(validate.errors)}\n${body}`);
      }
      seen.add(key);
    },
  };
}
