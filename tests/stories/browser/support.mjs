// A browser, the REST API, and what every page has to be. Each script beside this one is run with the ready file of a sandbox.
import { chromium } from "playwright-core";
import assert from "node:assert/strict";
import { readFileSync, mkdirSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";

export const ready = JSON.parse(readFileSync(process.argv[2], "utf8"));
const screenshots = process.argv[3];
/// Bounds a wait, so that a failure ends.
const PATIENCE = 120_000;

/** The world outside: every name below `test` leads to a server that keeps what it is asked, and answers what `pages` has. */
export const world = { asked: [], pages: new Map() };

function serveWorld() {
    const server = createServer((request, response) => {
        const url = `http://${request.headers.host}${request.url}`;
        world.asked.push({ url, headers: request.headers });
        const [type, body] = world.pages.get(url) ?? ["text/plain", ""];
        response.writeHead(200, { "content-type": type, "access-control-allow-origin": "*" }).end(body);
    });
    // TLS, which it does not speak.
    server.on("clientError", (_, socket) => {
        world.asked.push({ url: "https:", headers: {} });
        socket.destroy();
    });
    return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

/** Runs `story` with Debian's Chromium. */
export async function withBrowser(story) {
    const server = await serveWorld();
    const browser = await chromium.launch({
        executablePath: "/usr/bin/chromium",
        // Root needs the first.
        args: [
            "--no-sandbox",
            "--disable-dev-shm-usage",
            `--host-resolver-rules=MAP *.test 127.0.0.1:${server.address().port}, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1`,
        ],
    });
    try {
        await story(browser);
    } finally {
        await browser.close();
        server.closeAllConnections();
        server.close();
    }
    console.log("done");
}

/** A page in a context of its own. What it writes to the console and its dialogs are kept in `watched`. */
export async function openPage(browser, options = {}) {
    const context = await browser.newContext({ baseURL: ready.http, viewport: { width: 1280, height: 900 }, ...options });
    context.setDefaultTimeout(PATIENCE);
    const page = await context.newPage();
    const watched = { console: [], dialogs: [] };
    page.on("console", (message) => {
        // The browser itself notes the status of a form that is shown again with what is wrong.
        if (/responded with a status of 422/.test(message.text())) return;
        if (["error", "warning"].includes(message.type())) watched.console.push(`${page.url()}: ${message.text()}`);
    });
    page.on("pageerror", (error) => watched.console.push(`${page.url()}: ${error.message}`));
    page.on("dialog", (dialog) => {
        watched.dialogs.push(dialog.message());
        dialog.dismiss();
    });
    return { context, page, watched };
}

/** Signs in with an API token. */
export async function signIn(page, token) {
    await page.goto("/sign-in");
    await page.getByText("Sign in with an API token").click();
    await page.getByLabel("API token", { exact: true }).fill(token);
    await page.getByRole("button", { name: "Sign in with the token" }).click();
    await page.getByRole("button", { name: "Sign out" }).waitFor();
}

export async function signInByPassword(page) {
    await page.goto("/sign-in");
    await page.getByLabel("Email").fill(ready.user);
    await page.getByLabel("Password").fill(ready.password);
    await page.getByRole("button", { name: "Sign in", exact: true }).click();
    await page.getByRole("button", { name: "Sign out" }).waitFor();
}

/** A request of the REST API. Its JSON, if the status is as expected. */
export async function rest(method, path, body, { token = ready.token, status } = {}) {
    const response = await fetch(ready.http + path, {
        method,
        headers: { authorization: `Bearer ${token}`, ...(body === undefined ? {} : { "content-type": "application/json" }) },
        body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await response.text();
    const isRight = status === undefined ? response.ok : response.status === status;
    assert.ok(isRight, `${method} ${path}: ${response.status} ${text}`);
    return text === "" ? null : JSON.parse(text);
}

/** Waits until `look` finds something; what it found. */
export async function until(what, look) {
    const end = Date.now() + PATIENCE;
    for (;;) {
        const found = await look();
        if (found) return found;
        assert.ok(Date.now() < end, `timed out waiting for ${what}`);
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
}

/** The mail that has left, with this subject, and its octets. */
export function outside(subject) {
    return until(`mail outside: ${subject}`, async () => {
        const all = await rest("GET", "/sandbox/mail");
        const found = all.data.find((mail) => mail.subject === subject);
        if (!found) return null;
        const raw = await (await fetch(`${ready.http}/sandbox/mail/${found.id}/raw`)).text();
        return { ...(await rest("GET", `/sandbox/mail/${found.id}`)), raw };
    });
}

/** Mail from the outside world. */
export async function inbound(raw, to = ready.inbox, from = "ann@outside.test") {
    const answer = await rest("POST", "/sandbox/inbound", { mail_from: from, rcpt_to: to, raw });
    assert.equal(answer.code, 250, JSON.stringify(answer));
}

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
const WIDTHS = { phone: 320, tablet: 768, desktop: 1280, wide: 1920 };
/// Pages inspected so far.
let inspected = 0;

/**
 * What the next page is looked at in: a width, a scheme, and whether axe-core runs. At night all of them. By day each width once, in a
 * scheme that alternates from page to page; axe-core runs at the two layouts, of which one is light and the other dark.
 */
function views() {
    if (process.env.NIGHTLY !== undefined) {
        return ["light", "dark"].flatMap((scheme) => Object.keys(WIDTHS).map((width) => [width, scheme, true]));
    }
    inspected += 1;
    return Object.keys(WIDTHS).map((width, at) => [
        width,
        (inspected + (at < 2 ? 0 : 1)) % 2 === 0 ? "light" : "dark",
        ["phone", "desktop"].includes(width),
    ]);
}

/** What is beyond the screen, or cut off at the side of a box, but for lines that end with an ellipsis. */
function overflow() {
    const width = document.documentElement.clientWidth;
    const isBeyond = (one) => one.getBoundingClientRect().right > width + 1;
    const isCut = (one) => {
        const { overflowX, textOverflow, display } = getComputedStyle(one);
        const isBox = ["hidden", "clip"].includes(overflowX) && display !== "inline" && one.clientWidth > 1;
        return isBox && textOverflow !== "ellipsis" && !one.matches(".what, input") && one.scrollWidth > one.clientWidth + 1;
    };
    const scrolls = document.documentElement.scrollWidth > width;
    const found = [...document.querySelectorAll("body *")].filter((one) => isCut(one) || (scrolls && isBeyond(one)));
    return { scrolls, found: found.slice(0, 5).map((one) => one.outerHTML.slice(0, 200)) };
}

/** What is wrong with the page that is shown, in each view (`isBrief`: on a phone, without a screenshot): what is beyond the screen or cut off, and what axe-core finds. */
export async function inspect(page, name, { isBrief = false } = {}) {
    const wrong = [];
    for (const [width, colorScheme, isChecked] of views()) {
        if (isBrief && width !== "phone") continue;
        await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
        await page.setViewportSize({ width: WIDTHS[width], height: 900 });
        const at = `${name} (${page.url()}) at ${WIDTHS[width]} px, ${colorScheme}`;
        const { scrolls, found } = await page.evaluate(overflow);
        if (scrolls || found.length) wrong.push(`${at} ${scrolls ? "scrolls sideways" : "is cut off"}: ${found.join("\n")}`);
        mkdirSync(screenshots, { recursive: true });
        if (!isBrief) await page.screenshot({ path: `${screenshots}/${name}-${width}-${colorScheme}.jpeg`, type: "jpeg", fullPage: true });
        if (!isChecked) continue;
        if (!(await page.evaluate(() => "axe" in globalThis))) await page.evaluate(axe);
        const { passes, violations } = await page.evaluate((values) => axe.run(document, { runOnly: values }), TAGS);
        assert.ok(passes.length > 5, `${at}: axe-core has looked at little: ${passes.map(({ id }) => id)}`);
        for (const one of violations) {
            const nodes = one.nodes.slice(0, 5).map((node) => `${node.target} ${node.any[0]?.message ?? node.failureSummary}`);
            wrong.push(`${at}: ${one.id}: ${one.help}\n  ${nodes.join("\n  ")}`);
        }
    }
    await page.emulateMedia({ colorScheme: "light", reducedMotion: null });
    await page.setViewportSize({ width: 1280, height: 900 });
    return wrong;
}

/** A form as a page of this session would send it, with these fields, by a program that is no browser. */
export async function post(context, path, fields, headers = {}) {
    const response = await context.request.post(ready.http + path, {
        form: fields,
        maxRedirects: 0,
        headers: { "sec-fetch-site": "same-origin", ...headers },
    });
    return { status: response.status(), text: await response.text(), location: response.headers().location };
}

/** The CSRF token of the session whose page this is. */
export const csrfOf = (page) => page.locator("input[name=csrf]").first().getAttribute("value");

export { assert };
