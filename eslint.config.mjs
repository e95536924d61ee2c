import tseslint from "typescript-eslint";

/** What may stand in SQL besides its text: quoted names and conditions that are made for it, and constants of the module. */
const namesInSql = [
  'CallExpression[callee.name="quoteName"]',
  'CallExpression[callee.property.name="table"]',
  'CallExpression[callee.property.name="join"][callee.object.arguments.0.name="quoteName"]',
  'MemberExpression[object.name=/^(names|from|to)$/][property.name="sql"]',
  "Identifier[name=/^(coordinationSchema|leaseColumns|columns|live|more|name|same|table)$/]",
].join(", ");
/** Where SQL is handed over. */
const sqlPlaces = [
  "CallExpression[callee.property.name=/^(rows|change|query)$/] > .arguments:first-child",
  "CallExpression[callee.name=/^(names|rows)$/] > .arguments",
  'CallExpression[callee.name="probe"] > .arguments:nth-child(2)',
  'Property[key.name="sql"] > .value',
];

const noShell = {
  selector: 'Property[key.name="shell"]',
  message: "No program is started through a shell of this process: arguments stay what they are.",
};

export default tseslint.config(
  { ignores: ["node_modules/**", ".lab/**", "**/*.mjs", "**/*.cjs", "dist/**", "docs/api/**"] },
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
    files: ["stacks/**/*.ts", "components/**/*.ts", "dynamic-providers/**/*.ts", "lib/**/*.ts", "cli/**/*.ts"],
    rules: {
      "no-restricted-imports": [
        "error",
        { paths: [{ name: "node:child_process", importNames: ["exec", "execSync"], message: noShell.message }] },
      ],
      "no-restricted-syntax": ["error", noShell],
    },
  },
  {
    files: ["lib/cinder-database/**/*.ts"],
    rules: {
      "no-restricted-syntax": [
        "error",
        noShell,
        {
          selector: `:matches(${sqlPlaces.join(", ")}):matches(TemplateLiteral) > :not(TemplateElement, ${namesInSql})`,
          message: "A value goes into SQL as a parameter (?), a name by quoteName.",
        },
        {
          selector: `:matches(${sqlPlaces.join(", ")}):matches(BinaryExpression)`,
          message: "SQL is one text: a value goes into it as a parameter (?), a name by quoteName.",
        },
      ],
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
