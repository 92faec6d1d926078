import { existsSync } from "node:fs";

// Here and not in the npm script, so that it also works on Windows: workers inherit it. A zone with daylight saving and far from
// UTC, so that a date that passes through an instant goes wrong in a test and not at a customer's.
process.env.TZ = "Australia/Sydney";

if (!existsSync("test/support/templateKeeper.ts")) throw new Error("Run Jest from the repository's root: npm test");

export default {
  testEnvironment: "node",
  testMatch: ["<rootDir>/test/**/*.test.ts"],
  extensionsToTreatAsEsm: [".ts"],
  moduleNameMapper: { "^(\\.{1,2}/.*)\\.js$": "$1" },
  transform: { "^.+\\.ts$": "@swc/jest" },
  globalSetup: "<rootDir>/test/support/globalSetup.ts",
  globalTeardown: "<rootDir>/test/support/globalTeardown.ts",
  setupFiles: ["<rootDir>/test/support/loopbackOnly.ts"],
  // Each may have a database of its own in memory (about 400 MB) and a sandbox process.
  maxWorkers: 2,
  testTimeout: 60_000,
};
