/** What operators are handed in ops/ fits the service: dashboard and rules ask for what is exported, and the runbook knows every alert. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import type { GraphQLEnumType } from "graphql";
import { buildSchema } from "graphql";
import { parse } from "yaml";
import { type Scrape, scrape } from "./support/scrape.js";
import { type Service, startService } from "./support/service.js";

interface Rule {
  alert: string;
  expr: string;
  for: string;
  labels: { severity: string };
  annotations: { summary: string; runbook: string };
}

interface Panel {
  id: number;
  type: string;
  title: string;
  description?: string;
  datasource?: { uid: string };
  gridPos: { h: number; w: number; x: number; y: number };
  targets?: { refId: string; expr: string }[];
}

const runbook = readFileSync("ops/runbook.md", "utf8");
const { groups } = parse(readFileSync("ops/alerts.yml", "utf8")) as { groups: { rules: Rule[] }[] };
const rules = groups.flatMap((group) => group.rules);
const dashboard = JSON.parse(readFileSync("ops/grafana-dashboard.json", "utf8")) as {
  uid: string;
  title: string;
  schemaVersion: number;
  templating: { list: { name: string; type: string }[] };
  panels: Panel[];
};
const panels = dashboard.panels.filter(({ type }) => type !== "row");
const expressions = [
  ...rules.map(({ alert, expr }) => [alert, expr]),
  ...panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => [title, expr])),
] as [string, string][];

/** Of the runbook, each with the text that follows it. */
const sections = new Map(
  runbook
    .split(/^### /m)
    .slice(1)
    .map((section) => [section.slice(0, section.indexOf("\n")), section]),
);

let service: Service;
let scraped: Scrape;

beforeAll(async () => {
  service = await startService({ role: "worker" });
  scraped = await scrape(service);
});

afterAll(() => service.close());

describe("dashboard and rules", () => {
  it.each(expressions)("%s asks for metrics that are exported: %s", (_title, expr) => {
    const asked = expr.match(/\b(?:ledgerline_\w+|up\b)/g) ?? [];
    expect(asked).not.toEqual([]);
    // `up` is Prometheus's own.
    expect(asked.filter((name) => name !== "up" && !scraped.names.has(name))).toEqual([]);
  });

  it("leave out nothing that is counted", () => {
    const all = expressions.map(([, expr]) => expr).join("\n");
    const own = [...scraped.text.matchAll(/^# TYPE (ledgerline_(?!process_|nodejs_)\w+) /gm)].map(
      ([, name = ""]) => name,
    );
    expect(own.length).toBeGreaterThan(15);
    expect(own.filter((name) => !all.includes(name))).toEqual([]);
  });

  it("fit together: panels have places and sources of their own, rules have names and words", () => {
    expect(dashboard).toMatchObject({
      uid: "ledgerline",
      title: "Ledgerline",
      schemaVersion: expect.any(Number) as unknown,
    });
    const variables = dashboard.templating.list.filter(({ type }) => type === "datasource").map(({ name }) => name);
    for (const { datasource, description, targets = [] } of panels) {
      expect(variables.map((name) => `\${${name}}`)).toContain(datasource?.uid);
      expect(description).toMatch(/\.$/);
      expect(new Set(targets.map(({ refId }) => refId)).size).toBe(targets.length);
    }
    expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length);
    const cells = dashboard.panels.flatMap(({ gridPos: { h, w, x, y } }) =>
      Array.from({ length: h * w }, (_, cell) => `${x + (cell % w)},${y + Math.floor(cell / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
    expect(Math.max(...dashboard.panels.map(({ gridPos: { x, w } }) => x + w))).toBe(24);
    expect(new Set(rules.map(({ alert }) => alert)).size).toBe(rules.length);
    for (const rule of rules) {
      expect(["page", "ticket"]).toContain(rule.labels.severity);
      expect(rule.annotations.summary).not.toBe("");
    }
  });
});

describe("the runbook", () => {
  const kinds = buildSchema(readFileSync("schema.graphql", "utf8")).getType("AlertKind") as GraphQLEnumType;
  const alerts = [...rules.map(({ alert }) => alert), ...kinds.getValues().map(({ name }) => name)];

  it.each(alerts)("says of %s what it means, how to look and what to do", (alert) => {
    const section = sections.get(alert);
    for (const part of ["**Means.**", "**Look.**", "**Do.**"]) expect(section).toContain(part);
  });

  it("is where each rule says, and its links go somewhere", () => {
    const anchors = [...sections.keys()].map((heading) => `#${heading.toLowerCase()}`);
    for (const { alert, annotations } of rules) {
      expect(annotations.runbook).toBe(`ops/runbook.md#${alert.toLowerCase()}`);
    }
    const links = [...runbook.matchAll(/\]\((#[^)]+)\)/g)].map(([, target = ""]) => target);
    expect(links.filter((target) => !anchors.includes(target))).toEqual([]);
  });

  it("knows of no rule that is gone", () => {
    const own = [...sections.keys()].filter((heading) => heading.startsWith("Ledgerline"));
    expect(own.sort()).toEqual(rules.map(({ alert }) => alert).sort());
  });
});
