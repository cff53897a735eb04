// Two suites: `fast` (npm test, under 10 minutes on two cores) and `slow` (npm run test:slow: real model, faults, packing).
import { defineConfig } from 'vitest/config';

const slow = ['test/**/*.slow.test.ts'];
export default defineConfig({
  test: {
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 120_000,
    hookTimeout: 120_000,
    projects: [
      { extends: true, test: { name: 'fast', include: ['test/**/*.test.ts'], exclude: slow } },
      {
        extends: true,
        test: {
          name: 'slow',
          include: slow,
          testTimeout: 1_800_000,
          hookTimeout: 1_800_000,
          maxWorkers: 1,
          fileParallelism: false,
        },
      },
    ],
  },
});
