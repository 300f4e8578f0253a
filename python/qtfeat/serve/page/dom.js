// Elements without markup in strings: what the server sends becomes text, never HTML.

export const $ = (id) => document.getElementById(id);

export function h(tag, attributes, ...children) {
  const svg = tag === "svg" || tag === "rect";
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

export const td = (text, kind) => h("td", { class: kind }, text);

export function number(value, digits = 4) {
  return value === null || value === undefined ? "–" : Number(value.toPrecision(digits)).toString();
}

export function span(seconds) {
  if (seconds === null) return "–";
  const sign = seconds < 0 ? "−" : "";
  const size = Math.abs(seconds);
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (size >= length) return `${sign}${(size / length).toFixed(1)} ${unit}`;
  }
  return `${sign}${size.toFixed(0)} s`;
}

export const moment = (ns) => (ns ? new Date(ns / 1e6).toISOString().slice(0, 16).replace("T", " ") : "–");
