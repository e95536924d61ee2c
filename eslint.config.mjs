import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["node_modules/**", ".lab/**", "**/*.mjs", "**/*.cjs", "dist/**"] },
  ...tseslint.configs.recommendedTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      // A lost await in the executor is the worst bug this project can have.
      "@typescript-eslint/no-floating-promises": "error",
      "@typescript-eslint/switch-exhaustiveness-check": ["error", { considerDefaultExhaustiveForUnions: true }],
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/no-explicit-any": "error",
      "@typescript-eslint/no-non-null-assertion": "error",
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
    },
  },
  {
    files: ["test/**/*.ts"],
    rules: {
      "@typescript-eslint/no-floating-promises": ["error", { allowForKnownSafeCalls: ["describe", "it"] }],
      // A double of an asynchronous port answers at once.
      "@typescript-eslint/require-await": "off",
    },
  },
  {
    files: ["index.ts", "components/**/*.ts", "dynamic-providers/**/*.ts", "lib/**/*.ts"],
    rules: {
      "no-restricted-properties": [
        "error",
        { object: "process", property: "env", message: "Only stacks/ and cli/ read the environment." },
      ],
    },
  },
);
