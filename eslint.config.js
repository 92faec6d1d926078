import tseslint from "typescript-eslint";

/** What may run past row-level security (`asSystem`, `asSystemAtOnce`): rows that belong to no workspace or to several. Keep it short. */
const systemPath = [
  "src/services/Connections.ts", // consents, and grants that several workspaces share
  "src/services/ConnectionCare.ts", // looks at all workspaces for links whose time has come
  "src/services/Disconnections.ts", // whether another workspace uses the same link
  "src/services/LinkWatch.ts", // a dead grant is several workspaces'
  "src/services/alerts/OverdueWatch.ts", // looks at all workspaces for what should be in Xero long since
  "src/services/payments/PaymentPoll.ts", // looks at all workspaces for polls that are due
  "src/services/Sweep.ts", // looks at all workspaces for what was forgotten
  "src/services/sync/Schedule.ts", // looks at all workspaces for a tick that has come
  "src/services/WebhookInbox.ts", // a delivery comes before its workspace is known
  "src/subscriptions/EventFeed.ts", // one poll for all workspaces that are watched
  "src/xero/CallLimits.ts", // an organisation may be several workspaces'
  "src/xero/Grants.ts",
  "src/xero/XeroGateway.ts", // limits per organisation
];

const noEnvironment =
  "Only src/config.ts reads the environment: describe the setting in its `settings` and pass the value in.";
const noDataSource = "Only src/database.ts opens connections: take a Database, and use inWorkspace.";

export default tseslint.config(
  { ignores: ["dist", "data", "coverage", "node_modules", "web", "*.config.js", ".dependency-cruiser.cjs"] },
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/explicit-module-boundary-types": "error",
      "@typescript-eslint/no-extraneous-class": "off", // TypeGraphQL and TypeORM: classes that only carry decorators
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
      "@typescript-eslint/switch-exhaustiveness-check": ["error", { considerDefaultExhaustiveForUnions: true }],
      // Entities are plain rows that carry decorators and no methods: an object literal or a spread is one, without its constructor.
      "@typescript-eslint/no-unsafe-class-instance-assignment": "off",
      "@typescript-eslint/no-misused-spread": "off",
      "@typescript-eslint/no-unused-vars": [
        "error",
        { argsIgnorePattern: "^_", varsIgnorePattern: "^_", ignoreRestSiblings: true },
      ],
      // `== null` is how GraphQL's "left out or null" is asked for.
      eqeqeq: ["error", "always", { null: "ignore" }],
      "no-console": "error",
    },
  },
  { files: ["sandbox/**", "demo/**", "scripts/**", "bench/**"], rules: { "no-console": "off" } },
  {
    files: ["src/**"],
    ignores: ["src/config.ts"],
    rules: {
      "no-restricted-properties": ["error", { object: "process", property: "env", message: noEnvironment }],
    },
  },
  {
    files: ["src/**"],
    ignores: ["src/database.ts"],
    rules: {
      "@typescript-eslint/no-restricted-imports": [
        "error",
        {
          paths: [
            { name: "typeorm", importNames: ["DataSource"], allowTypeImports: true, message: noDataSource },
            { name: "node:process", importNames: ["env"], message: noEnvironment },
          ],
        },
      ],
    },
  },
  {
    files: ["src/**"],
    ignores: systemPath,
    rules: {
      "no-restricted-syntax": [
        "error",
        ...["MemberExpression[property.name=/^asSystem/]", "ObjectPattern Property[key.name=/^asSystem/]"].map(
          (selector) => ({
            selector,
            message:
              "asSystem sees every workspace. Use inWorkspace; if the rows really belong to no workspace or to several, add the file to " +
              "systemPath in eslint.config.js and say why.",
          }),
        ),
      ],
    },
  },
);
