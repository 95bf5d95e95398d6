// SPDX-License-Identifier: GPL-2.0-only
// links: common/pci.c common/err.c
#include "common/pci.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
	const char *text, *address;
} addresses[] = {
	{ "0000:01:00.0", "0000:01:00.0" },
	{ "00000000:01:00.0", "0000:01:00.0" },
	{ "0000:C1:1F.7", "0000:c1:1f.7" },
	{ "1:2:3.4", "0001:02:03.4" },
	{ "01:00.0", "0000:01:00.0" },
	{ "10000:e1:00.0", "10000:e1:00.0" },
	{ "ffffffff:ff:1f.7", "ffffffff:ff:1f.7" },
	{ "", NULL },
	{ "0000", NULL },
	{ "0000:01", NULL },
	{ "0000:01:00", NULL },
	{ "0000:01:00.", NULL },
	{ "0000:01:00.8", NULL },
	{ "0000:01:20.0", NULL },
	{ "0000:01:00.0 ", NULL },
	{ "0000:01:00.00", NULL },
	{ " 0000:01:00.0", NULL },
	{ "0000:zz:00.0", NULL },
	{ "000000000:01:00.0", NULL },
	{ "0000:001:00.0", NULL },
	{ "100:00.0", NULL },
};

START_TEST(test_address)
{
	char out[PCI_ADDRESS_MAX] = "old";
	int r = pci_address_parse(addresses[_i].text, out);

	ck_assert_int_eq(r, addresses[_i].address ? 0 : -EINVAL);
	ck_assert_str_eq(out, addresses[_i].address ? addresses[_i].address : "old");
}
END_TEST

static char root[4096];

static void root_new(void)
{
	const char *tmp = getenv("TEST_TMP");
	char path[4200];
	FILE *f;

	snprintf(root, sizeof(root), "%s/pci.XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(root));
	snprintf(path, sizeof(path), "mkdir -p %.3000s/usr/share/misc", root);
	ck_assert_int_eq(system(path), 0);
	snprintf(path, sizeof(path), "%s/usr/share/misc/pci.ids", root);
	f = fopen(path, "we");
	ck_assert_ptr_nonnull(f);
	fputs("# comment\n\n1002  Advanced Micro Devices, Inc. [AMD/ATI]\n"
	      "\t744c  Navi 31 [Radeon RX 7900 XT/7900 XTX]\n"
	      "\t\t1002 0e3b  A board\n"
	      "10de  NVIDIA Corporation\n\t744c  Another maker's 744c\n\t2684  AD102\n"
	      "C 03  Display controller\n\t00  VGA compatible controller\n",
	      f);
	fclose(f);
}

static void root_free(void)
{
	char command[4200];

	snprintf(command, sizeof(command), "rm -r %.3000s", root);
	ck_assert_int_eq(system(command), 0);
}

START_TEST(test_names)
{
	char vendor[PCI_NAME_MAX], device[PCI_NAME_MAX];

	pci_names(root, 0x1002, 0x744c, vendor, device);
	ck_assert_str_eq(vendor, "Advanced Micro Devices, Inc. [AMD/ATI]");
	ck_assert_str_eq(device, "Navi 31 [Radeon RX 7900 XT/7900 XTX]");
	pci_names(root, 0x10de, 0x2684, vendor, device);
	ck_assert_str_eq(device, "AD102");
	/* A known maker's unknown device, and neither the next maker's nor a board's. */
	pci_names(root, 0x1002, 0x2684, vendor, device);
	ck_assert_str_eq(vendor, "Advanced Micro Devices, Inc. [AMD/ATI]");
	ck_assert_str_eq(device, "");
	pci_names(root, 0x1002, 0x1002, vendor, device);
	ck_assert_str_eq(device, "");
	/* Not in the file: what we know ourselves. */
	pci_names(root, 0x1af4, 0x1050, vendor, device);
	ck_assert_str_eq(vendor, "Red Hat (virtio)");
	pci_names(root, 0x4242, 0x4242, vendor, device);
	ck_assert_str_eq(vendor, "");
	pci_names("/does/not/exist", 0x1002, 0x744c, vendor, device);
	ck_assert_str_eq(vendor, "AMD");
	ck_assert_str_eq(device, "");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("pci");
	TCase *tc = tcase_create("addresses"), *names = tcase_create("names");
	SRunner *sr;
	int failed;

	tcase_add_loop_test(tc, test_address, 0, sizeof(addresses) / sizeof(addresses[0]));
	suite_add_tcase(s, tc);
	tcase_add_checked_fixture(names, root_new, root_free);
	tcase_add_test(names, test_names);
	suite_add_tcase(s, names);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
