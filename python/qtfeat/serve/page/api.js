// The OpenAPI description as a page that works offline.

import { $, h } from "/page/dom.js";
import { get } from "/page/link.js";

const METHODS = ["get", "post", "put", "patch", "delete"];

// A schema with its references written out, `depth` levels down.
function resolved(spec, schema, depth = 6) {
  if (schema?.$ref) {
    const found = schema.$ref.slice(2).split("/").reduce((node, name) => node[name], spec);
    return depth ? resolved(spec, found, depth - 1) : { title: schema.$ref.split("/").pop() };
  }
  if (Array.isArray(schema)) return schema.map((one) => resolved(spec, one, depth));
  if (schema && typeof schema === "object") {
    return Object.fromEntries(Object.entries(schema).map(([name, value]) => [name, resolved(spec, value, depth)]));
  }
  return schema;
}

function block(title, schema) {
  return h("details", null, h("summary", null, title), h("pre", { class: "mono" }, JSON.stringify(schema, null, 2)));
}

function operation(spec, path, method, found) {
  const body = found.requestBody?.content?.["application/json"]?.schema;
  const answers = Object.entries(found.responses ?? {}).filter(([status]) => status.startsWith("2"));
  return h(
    "article",
    { class: "card" },
    h("div", { class: "big mono" }, `${method.toUpperCase()} ${path}`),
    h("p", null, found.description ?? found.summary ?? ""),
    (found.parameters ?? []).map((one) => h("div", null, h("code", null, one.name), ` in ${one.in}: `, h("code", null, JSON.stringify(resolved(spec, one.schema))))),
    body ? block("request", resolved(spec, body)) : null,
    answers.map(([status, answer]) => {
      const schema = Object.values(answer.content ?? {})[0]?.schema;
      return schema ? block(`answer ${status}`, resolved(spec, schema)) : null;
    }),
  );
}

try {
  const spec = await get("/schema/openapi.json");
  const all = Object.entries(spec.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => operation(spec, path, method, item[method])));
  $("paths").replaceChildren(h("p", null, spec.info.description), ...all);
} catch (error) {
  $("trouble").hidden = false;
  $("trouble").textContent = `${error.message} (log in on the live page first, where the server asks for a token)`;
}
