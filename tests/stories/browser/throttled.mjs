// Wrong passwords are limited on the page as elsewhere; behind TLS the cookie is one that no other host can set.
import { assert, inspect, openPage, ready, withBrowser } from "./support.mjs";

await withBrowser(async (browser) => {
    // A proxy says that the browser speaks TLS.
    const behindTls = { "x-forwarded-proto": "https" };
    const signIn = (fields, headers = {}) =>
        fetch(`${ready.http}/sign-in`, {
            method: "POST",
            redirect: "manual",
            headers: { "sec-fetch-site": "same-origin", ...headers },
            body: new URLSearchParams(fields),
        });
    const account = (cookie, headers) => fetch(`${ready.http}/account`, { redirect: "manual", headers: { cookie, ...headers } });
    const [plain] = (await signIn({ token: ready.token })).headers.getSetCookie();
    assert.match(plain, /^inboxlayer=[^;]+; Path=\/; Max-Age=\d+; HttpOnly; SameSite=Lax$/);
    const [secure] = (await signIn({ token: ready.token }, behindTls)).headers.getSetCookie();
    assert.match(secure, /^__Host-inboxlayer=[^;]+; Path=\/; Max-Age=\d+; HttpOnly; SameSite=Lax; Secure$/);
    assert.equal((await account(secure.split(";")[0], behindTls)).status, 200);
    // A cookie of the other name may have been set by a neighbouring host.
    assert.equal((await account(plain.split(";")[0], behindTls)).status, 303);

    const { page } = await openPage(browser);
    await page.goto("/sign-in");
    const attempt = async (password) => {
        await page.getByLabel("Email").fill(ready.user);
        await page.getByLabel("Password").fill(password);
        const answered = page.waitForResponse((response) => response.request().method() === "POST");
        await page.getByRole("button", { name: "Sign in", exact: true }).click();
        return (await answered).status();
    };
    const statuses = [];
    while (statuses.at(-1) !== 429 && statuses.length < 10) statuses.push(await attempt("wrong"));
    assert.equal(statuses.at(-1), 429, statuses.join());
    assert.ok(statuses.slice(0, -1).every((status) => status === 401), statuses.join());
    await page.getByRole("alert").getByText(/Try again|Retry-After|Wait/).waitFor();
    assert.equal(await attempt(ready.password), 429, "the right password is not told apart");
    assert.equal((await inspect(page, "sign-in-throttled")).join("\n"), "");
});
