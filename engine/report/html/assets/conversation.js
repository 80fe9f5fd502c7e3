// One finding in full: its conversation, the judge's evidence, and where to find the whole answer.

const KNOWN_ROLES = ["user", "assistant", "system"];
const DEEPEST = 6;

function conversation(text, words, command) {
  const parts = text.messages.map(([role, content]) => message(role, content, words));
  if (text.evidence !== null && text.evidence !== undefined) parts.push(facts("evidence", text.evidence));
  if (Object.keys(text.values).length) parts.push(facts("further values", text.values));
  const where = element("p", "where", "the whole answer: ");
  where.append(element("code", "", command));
  return element("div", "conversation", ...parts, where);
}

function message(role, content, words) {
  const kind = KNOWN_ROLES.includes(role) ? role : "other";
  const who = element("span", "role", label(role));
  return element("div", `message role-${kind}`, who, textBlock(content, words));
}

function facts(title, value) {
  return element("div", "evidence", element("span", "role", title), describe(value, 0));
}

/** A value of JSON as lists, readable without its brackets. */
function describe(value, depth) {
  if (value === null || typeof value !== "object") return textBlock(value === null ? "–" : String(value), []);
  if (depth >= DEEPEST) return textBlock(JSON.stringify(value), []);
  if (Array.isArray(value)) {
    return element("ul", "", ...value.map((one) => element("li", "", describe(one, depth + 1))));
  }
  const list = element("dl");
  for (const [name, one] of Object.entries(value)) {
    list.append(element("dt", "", label(name)), element("dd", "", describe(one, depth + 1)));
  }
  return list;
}
