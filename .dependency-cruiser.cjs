/**
 * The import rules of the design: doors → services → xero → entities, one way. Each rule's comment says what to do instead.
 * `npm run check -- imports` runs them.
 *
 * @type {import('dependency-cruiser').IConfiguration}
 */

const root = "^src/(main|rotateKeys|app|schema|httpServer)[.]ts$"; // puts everything together, so it may import everything
const outlets = "^src/(jobs/queue|subscriptions/eventLog)[.]ts$"; // what services may call among the doors' folders
const doors = "^src/(resolvers|webhooks|uploads|subscriptions|jobs)/";

module.exports = {
  forbidden: [
    {
      name: "services-know-no-doors",
      comment:
        "A service must not know how it was called. Hand it what it needs as arguments; to start work later use enqueue of " +
        "jobs/queue, to tell dashboards use record of subscriptions/eventLog.",
      severity: "error",
      from: { path: "^src/services/" },
      to: { path: [doors, root], pathNot: outlets },
    },
    {
      name: "doors-call-services",
      comment:
        "A door authorises, validates, calls one service method and returns. Only services talk to Xero: add a method to the " +
        "service, or move what is needed of it (a type, an enum) to entities/.",
      severity: "error",
      from: { path: doors },
      to: { path: "^src/xero/" },
    },
    {
      name: "xero-knows-no-rules",
      comment:
        "The gateway speaks Xero's language and nothing else. Let the service pass in what it needs, and decide on what comes back.",
      severity: "error",
      from: { path: "^src/xero/" },
      to: { path: ["^src/services/", doors, root] },
    },
    {
      name: "only-the-gateway-knows-xero-node",
      comment:
        "xero-node and the OAuth client have traps (no timeouts, errors as JSON strings) that src/xero deals with once. Add a method " +
        "to the gateway that answers in our words.",
      severity: "error",
      from: { path: "^src/", pathNot: "^src/xero/" },
      to: { path: "node_modules/(xero-node|openid-client)/" },
    },
    {
      name: "entities-know-entities-only",
      comment:
        "An entity is a table and a GraphQL type, without behaviour that reaches out. Put the rule into a service; scalars and money " +
        "are the only definitions an entity may share.",
      severity: "error",
      from: { path: "^src/entities/" },
      to: { path: "^src/", pathNot: "^src/(entities/|scalars[.]ts$|money[.]ts$)" },
    },
    {
      name: "outlets-stay-small",
      comment:
        "Services import these two, so these two import no service and no door. Let the caller hand in what is needed.",
      severity: "error",
      from: { path: outlets },
      to: { path: ["^src/services/", "^src/xero/", doors, root], pathNot: outlets },
    },
    {
      name: "ground-carries-the-rest",
      comment:
        "The files directly in src/ (database, errors, logger, …) are what everything stands on. What knows services, doors or Xero " +
        "belongs into their folders, or into app.ts, which connects them.",
      severity: "error",
      from: { path: "^src/[^/]+[.]ts$", pathNot: root },
      to: { path: ["^src/services/", "^src/xero/", doors, root], pathNot: outlets },
    },
    {
      name: "only-metrics-knows-prom-client",
      comment:
        "What is counted, under which names and labels, stands in src/metrics.ts alone. Add a function to its Metrics and have app.ts hand it " +
        "to you; in a service, tally what was done with tally() of the transaction.",
      severity: "error",
      from: { path: "^src/", pathNot: "^src/metrics[.]ts$" },
      to: { path: "node_modules/prom-client/" },
    },
    {
      name: "only-watchers-watch",
      comment:
        "The Watcher sees all workspaces, past row-level security, and is for counting what is there. Ask for rows by inWorkspace.",
      severity: "error",
      from: { path: "^src/", pathNot: "^src/(metrics|Readiness|app)[.]ts$" },
      to: { path: "^src/Watcher[.]ts$" },
    },
    {
      name: "migrations-stand-alone",
      comment:
        "A migration describes the past and must not change with the code of today: write the SQL out. Only database.ts lists migrations.",
      severity: "error",
      from: { path: "^src/migrations/" },
      to: { path: "^src/", pathNot: "^src/migrations/" },
    },
    {
      name: "only-the-database-runs-migrations",
      comment: "Call migrate() of the object that openDatabase gives.",
      severity: "error",
      from: { path: "^src/", pathNot: "^src/(migrations/|database[.]ts$)" },
      to: { path: "^src/migrations/" },
    },
    {
      name: "src-stands-alone",
      comment:
        "dist/ holds src/ only. Move what production needs into src/; what is for tests, the demo or the sandbox stays there.",
      severity: "error",
      from: { path: "^src/" },
      to: { path: "^(sandbox|test|demo|scripts|bench|web)/" },
    },
    {
      name: "sandbox-shares-nothing",
      comment:
        "The stand-in must be wrong where we are wrong about Xero only by chance: it shares no code with src/. Write it again from " +
        "Xero's documentation.",
      severity: "error",
      from: { path: "^sandbox/" },
      to: { path: "^(src|test|demo|scripts)/" },
    },
    {
      name: "no-circles",
      comment:
        "Two files that need each other are one, or lack a third. Types may go round in circles, and so may entities, whose relations " +
        "are thunks.",
      severity: "error",
      from: { pathNot: "^src/entities/" },
      to: { circular: true, viaOnly: { dependencyTypesNot: ["type-only"] } },
    },
    {
      name: "production-needs-no-dev-dependency",
      comment:
        "`npm ci --omit=dev` must be enough to run dist/. Move the package to dependencies, or the code out of src/.",
      severity: "error",
      from: { path: "^src/" },
      to: { dependencyTypes: ["npm-dev"], dependencyTypesNot: ["type-only"], pathNot: "node_modules/@types/" },
    },
    {
      name: "what-is-imported-is-there",
      comment: "Mend the path, or `npm i -E` the package: one that only another brings along can vanish at any time.",
      severity: "error",
      from: {},
      to: { couldNotResolve: true },
    },
    {
      name: "packages-are-declared",
      comment: "`npm i -E` the package: one that only another brings along can vanish at any time.",
      severity: "error",
      from: {},
      to: { dependencyTypes: ["npm-no-pkg", "npm-unknown"] },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: { exportsFields: ["exports"], conditionNames: ["import", "node", "default", "types"] },
  },
};
