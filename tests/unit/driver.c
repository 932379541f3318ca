// SPDX-License-Identifier: LGPL-2.1-or-later
/* Which of several VFIO drivers is a device's. */
#include "../../lib/driver.h"
#include "test.h"

#define MODALIAS "vfio_pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02"

static size_t wildcards(const char *first, const char *second)
{
	struct names aliases = {0};
	size_t n;

	names_add(&aliases, first);
	names_add(&aliases, second);
	n = driver_alias_wildcards(&aliases, MODALIAS);
	names_free(&aliases);
	return n;
}

int main(void)
{
	static const char device[] = "vfio_pci:v00001B36d00000010sv*sd*bc*sc*i*";
	static const char exact[] =
		"vfio_pci:v00001B36d00000010sv00001AF4sd00001100bc*sc*i*";
	static const char other[] = "vfio_pci:v00008086d00000010sv*sd*bc*sc*i*";
	static const char all[] = "vfio_pci:v*d*sv*sd*bc*sc*i*";

	EXPECT(wildcards(all, other) == 7);
	EXPECT(wildcards(device, other) == 5);
	EXPECT(wildcards(all, exact) == 3 && wildcards(exact, all) == 3);
	ok(content(), "of a module's aliases, the one that fits with the fewest "
		      "wildcards counts");
	EXPECT(wildcards(other, "pci:v00001B36d00000010sv*sd*bc*sc*i*") == 0);
	ok(content(), "a module whose own aliases do not fit is the admin's choice");
	return done();
}
