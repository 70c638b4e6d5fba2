// Checks KQL files for syntax and names with the vendor's own Kusto language service, against tables.json.
// Usage: node check.mjs FILE.kql… ; --json writes what each query reads and returns, for the tests. Exit 1: a fault.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

// Node looks for packages beside the file; KQL_PACKAGES names another folder with a node_modules in it.
const packages = process.env.KQL_PACKAGES ? `${process.env.KQL_PACKAGES}/` : import.meta.url;
const require = createRequire(packages);
require("@kusto/language-service-next/bridge.min.js");
require("@kusto/language-service-next/Kusto.Language.Bridge.min.js");
const { KustoCode, GlobalState, Symbols, Syntax } = globalThis.Kusto.Language;
const toArray = globalThis.Bridge.toArray;

function workspace() {
  const schema = JSON.parse(readFileSync(fileURLToPath(new URL("tables.json", import.meta.url)), "utf8"));
  const tables = Object.entries(schema.tables).map(([name, columns]) => {
    const declared = Object.entries(columns).map(([column, type]) => `${column}: ${type}`);
    return Symbols.TableSymbol.From(`(${declared.join(", ")})`).WithName(name);
  });
  return GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.$ctor1("workspace", tables));
}

function check(text, globals) {
  const code = KustoCode.ParseAndAnalyze(text, globals);
  const faults = toArray(code.GetDiagnostics())
    .filter((found) => found.Severity === "Error" || found.Severity === "Warning")
    .map((found) => {
      const before = text.slice(0, found.Start).split("\n");
      return { line: before.length, column: before.at(-1).length + 1, code: found.Code, message: found.Message };
    });
  const tables = new Set();
  Syntax.SyntaxElement.WalkNodes(code.Syntax, (node) => {
    const symbol = node.ReferencedSymbol;
    if (symbol instanceof Symbols.TableSymbol && globals.Database.GetTable(symbol.Name)) tables.add(symbol.Name);
  });
  const columns = code.ResultType?.Columns ? toArray(code.ResultType.Columns).map((column) => column.Name) : [];
  return { faults, tables: [...tables].sort(), columns };
}

const files = process.argv.slice(2).filter((argument) => argument !== "--json");
if (files.length === 0) {
  console.error("No file to check. Usage: node check.mjs [--json] FILE.kql…");
  process.exit(2);
}
const globals = workspace();
const results = Object.fromEntries(files.map((file) => [file, check(readFileSync(file, "utf8"), globals)]));
let bad = 0;
for (const [file, { faults }] of Object.entries(results)) {
  for (const fault of faults) {
    console.error(`${file}:${fault.line}:${fault.column}: ${fault.code} ${fault.message}`);
    bad += 1;
  }
}
if (process.argv.includes("--json")) console.log(JSON.stringify(results));
else console.log(`${files.length} KQL files checked, ${bad} faults.`);
process.exit(bad ? 1 : 0);
