import { availableParallelism } from 'node:os';

/** @type {import('jest').Config} */
export default {
  testEnvironment: 'node',
  roots: ['<rootDir>/tests'],
  testMatch: ['**/*.test.ts'],
  // The clusters take minutes: `npm run test:cluster`.
  testPathIgnorePatterns: ['<rootDir>/tests/clients/', '<rootDir>/tests/cluster/'],
  modulePathIgnorePatterns: ['<rootDir>/tests/clients/', '<rootDir>/dist/'],
  extensionsToTreatAsEsm: ['.ts'],
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  transform: { '^.+\\.ts$': ['ts-jest', { useESM: true }] },
  // No wait of a test is so long: a machine that is busy with something else fails nothing.
  testTimeout: 60_000,
  // Many tests wait for clocks and processes more than they compute.
  maxWorkers: Math.max(4, availableParallelism() - 1),
  testSequencer: '<rootDir>/tests/support/waiting-first.cjs',
  reporters: ['default', '<rootDir>/tests/support/closing-line.cjs'],
};
