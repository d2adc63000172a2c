// The first page, for somebody on a slow line: what it loads is small, and without what it loads it still signs in.
import { assert, openPage, signInByPassword, withBrowser, world } from "./support.mjs";

const MOST = 60_000;

await withBrowser(async (browser) => {
    const { context, page, watched } = await openPage(browser);
    const responses = [];
    page.on("response", (response) => responses.push(response));
    await page.goto("/", { waitUntil: "networkidle" });
    assert.equal(new URL(page.url()).pathname, "/sign-in");
    const sizes = await Promise.all(
        responses.map(async (response) => {
            const { responseHeadersSize, responseBodySize } = await response.request().sizes();
            return [new URL(response.url()).pathname, responseHeadersSize + responseBodySize];
        }),
    );
    const sum = sizes.reduce((sum, [, octets]) => sum + octets, 0);
    assert.ok(sizes.length >= 5, `only ${sizes}`);
    assert.ok(sum < MOST, `${sum} octets: ${sizes.join("; ")}`);
    assert.deepEqual([watched, world.asked], [{ console: [], dialogs: [] }, []]);
    // What is loaded once is not loaded again.
    await page.goto("/sign-in?again=1", { waitUntil: "networkidle" });
    const loaded = await page.evaluate(() =>
        performance.getEntriesByType("resource").map(({ name, transferSize }) => [name, transferSize]),
    );
    assert.ok(loaded.length >= 4 && loaded.every(([, octets]) => octets === 0), loaded.join("; "));
    await context.close();

    const bare = await openPage(browser);
    await bare.context.route(
        (url) => url.pathname.startsWith("/assets/"),
        (route) => route.abort(),
    );
    await bare.page.goto("/sign-in");
    await bare.page.getByRole("heading", { name: "Sign in", level: 1 }).waitFor();
    await bare.page.getByText("Sign in with an API token").click();
    assert.ok(await bare.page.getByLabel("API token", { exact: true }).isVisible());
    await signInByPassword(bare.page);
    assert.equal(new URL(bare.page.url()).pathname, "/domains");
    await bare.page.getByLabel("Domain").fill("bare.test");
    await bare.page.getByRole("button", { name: "Add domain" }).click();
    await bare.page.waitForURL((url) => url.pathname.startsWith("/domains/dom_"));
});
